"""Letting a rebuilt schema take the place of the live one while workers run.

They wait while the last commands are applied, are fenced off, and continue in the other schema
after some seconds, when no rebalance has taken their partitions.
"""

from collections.abc import Mapping

from execstream.recovery.replay.bounds import describe
from execstream.recovery.replay.carried_totals import keep_totals
from execstream.recovery.replay.cut_over import end_sessions, exchange, lock
from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.replay.shadow_schema import set_apart
from execstream.recovery.replay.truncated_runs import lost_days
from execstream.storage import connections
from execstream.storage.connections import REPLAY
from execstream.streams.topics import EVENTS


async def swap(rebuild: Rebuild) -> None:
    """Exchange the names of the rebuilt schema and the live one, at exactly the same offsets.

    Raises NotExchangeable, before anything was changed, when they are not of one version.
    """
    settings, topic = rebuild.settings, rebuild.topic.name
    live = settings.schema_
    events = await describe(settings.kafka, settings.topic_prefix + EVENTS.name)
    if rebuild.asked.topics_lost:
        await set_apart(rebuild.connection, topic)
    async with connections.connection(settings.postgres, "public", REPLAY) as connection:
        async with connection.transaction():
            at = await lock(connection, live, rebuild.schema, topic)
            if at:
                await rebuild.catch_up(at)
                await _keep_totals(rebuild, events.name, at)
            await exchange(connection, live, rebuild.schema, events.name, events.first)
        await end_sessions(connection, live)


async def _keep_totals(rebuild: Rebuild, events: str, at: Mapping[int, int]) -> None:
    """Copy totals that the sources no longer determine; there are no commits meanwhile."""
    if not rebuild.needs_journal:
        return
    unknown = await lost_days(rebuild.connection)
    if not unknown:
        return
    live = rebuild.settings.schema_
    ends = {span.partition: at.get(span.partition, 0) + span.base for span in rebuild.plan.spans}
    async with (
        connections.connection(rebuild.settings.postgres, live, REPLAY) as connection,
        connection.transaction(isolation="repeatable_read"),
    ):
        await keep_totals(connection, live, rebuild.schema, events, ends, unknown)
