"""The agent that tallies: take a batch, fold it, commit it, show it.

Reads `execution.events.v1`; writes the totals in Postgres, exact, then the tables `block_stats`
and `node_stats`, and `execution.block-stats.v1`, which follow within a second.
"""

import time
from collections.abc import Mapping
from typing import Any

import structlog

from execstream.agents.budgets.budget_timer import declare_budgets
from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.metrics import TABLE_RECOVERY_SECONDS
from execstream.agents.runtime.partition_buffer import AssignedPartition, PartitionBuffer, Position
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.runtime.stored_offsets import PostgresPositions
from execstream.agents.runtime.tasks import spawn
from execstream.agents.tally.aggregator import CONSUMER, Tallier
from execstream.agents.tally.changelog import Changelog
from execstream.agents.tally.live_pages import declare_pages
from execstream.agents.tally.live_view import LiveView
from execstream.config.settings import Settings
from execstream.storage.commit.definitions import begin_counting
from execstream.storage.commit.totals import Live, load_live
from execstream.storage.connections import Session
from execstream.streams.topics import BLOCK_STATS, EVENTS
from execstream.streams.totals.definitions import Definition, Definitions, definition

log = structlog.get_logger(__name__)

TICK = 0.5  # seconds between writes to the tables
HINT_EVERY = 2.0  # seconds between commits of Kafka offsets
REPORT_EVERY = 10.0  # seconds
BATCH_RECORDS = 10_000  # most records in one transaction: many events add up to few rows


class TallyPositions:
    """Positions in Postgres, and with each claim the totals that belong to them."""

    def __init__(self, session: Session, definition: Definition) -> None:
        self.live = Live()
        self._session = session
        self._definition = definition
        self._positions = PostgresPositions(session, CONSUMER)

    async def claim(self, topic: str, earliest: Mapping[int, int]) -> list[Position]:
        """See `PositionStore`. Once claimed, no other worker adds to the totals."""
        positions = await self._positions.claim(topic, earliest)
        try:
            begun = time.perf_counter()
            connection = await self._session.get()
            self.live = await load_live(connection, list(earliest))
            TABLE_RECOVERY_SECONDS.set(time.perf_counter() - begun)
            owned = [(one.partition, one.epoch) for one in positions]
            if changed := await begin_counting(connection, topic, owned, self._definition):
                log.info("definition_of_totals_changed", partitions=changed)
        except Exception:
            self._session.terminate()
            raise
        return positions


def declare(app: App, settings: Settings) -> None:
    """Declare the agent, its timers and its pages on `app`."""
    phases = Phases()
    changelog = Changelog(settings.kafka, settings.topic_prefix + BLOCK_STATS.name)
    live = LiveView(app, changelog)
    budgets = declare_budgets(app, settings)
    session = Session(settings.postgres, settings.schema_)
    known = definition(rules=settings.class_rules)
    store = TallyPositions(session, known)

    def owned(parts: list[AssignedPartition]) -> None:
        live.begin(parts, store.live)
        store.live = Live()
        budgets.judge_all()

    buffer = PartitionBuffer(
        settings.topic_prefix + EVENTS.name, store, on_owned=owned, on_lost=live.clear
    )
    tallier = Tallier(settings, buffer, live, phases, Definitions(known), budgets)
    declare_pages(app, live)

    @app.agent(app.read(buffer), name="tally_stats")
    async def tally_stats(stream: Any) -> None:
        queue = stream.channel.queue
        async for event in stream.noack().events():
            buffer.receive(event.value)
            while batch := await buffer.poll_batch(queue, BATCH_RECORDS):
                await tallier.tally(batch)

    @app.timer(TICK)
    async def tick() -> None:
        await spawn(live.tick())

    @app.timer(HINT_EVERY)
    async def hint() -> None:
        await app.hint(buffer)

    @app.timer(REPORT_EVERY)
    async def report() -> None:
        if seconds := phases.delta():
            log.info("phases", **seconds)

    async def close() -> None:
        await tallier.close()
        await live.finish()
        await changelog.close()
        await session.close()

    app.on_close(close)
