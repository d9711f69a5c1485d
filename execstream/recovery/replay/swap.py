"""Letting a rebuilt schema take the place of the live one while workers run.

They are held up for as long as the last commands take, fenced off, and go on in the other schema
after some seconds, when nobody has told them that their partitions are somebody else's.
"""

from execstream.recovery.replay.bounds import describe
from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.replay.sessions import session
from storage.swapping import end_sessions, exchange, lock
from streams.topics import EVENTS


async def swap(rebuild: Rebuild) -> None:
    """Exchange the names of the rebuilt schema and the live one, at exactly the same offsets.

    Raises NotExchangeable, before anything was changed, when they are not of one version.
    """
    settings, topic = rebuild.settings, rebuild.topic.name
    live = settings.schema_
    events = await describe(settings.kafka, settings.topic_prefix + EVENTS.name)
    async with session(settings.postgres, "public") as connection:
        async with connection.transaction():
            at = await lock(connection, live, rebuild.schema, topic)
            if at:
                await rebuild.catch_up(at)
            await exchange(connection, live, rebuild.schema, events.name, events.first)
        await end_sessions(connection, live)
