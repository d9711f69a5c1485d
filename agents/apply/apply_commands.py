"""The agent that applies commands: take a batch, fold it, commit it, publish its events.

Reads `execution.commands.v1`; writes Postgres, then `execution.events.v1`, replies and dead
letters.
"""

from typing import Any

import structlog

from execstream.agents.apply.pipeline import CONSUMER, Applier
from execstream.agents.apply.publisher import Publisher
from execstream.agents.apply.republisher import Republisher
from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.partition_buffer import AssignedPartition, PartitionBuffer
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.runtime.retries import tolerating
from execstream.agents.runtime.stored_offsets import PostgresPositions
from execstream.agents.runtime.tasks import spawn
from execstream.config.settings import Settings
from execstream.config.tracing import close_tracer, tracer_of
from execstream.storage.commit.consumer_offsets import save_published
from execstream.storage.connections import Session
from execstream.streams.topics import COMMANDS, DEAD_LETTERS, EVENTS

log = structlog.get_logger(__name__)

SAVE_EVERY = 2.0  # seconds between saves of published positions and commits of Kafka offsets
REPORT_EVERY = 10.0  # seconds


def declare(app: App, settings: Settings) -> None:
    """Declare the agent and its timers on `app`."""
    phases = Phases()
    prefix = settings.topic_prefix
    tracer = tracer_of(settings, "apply")
    topics = (prefix + EVENTS.name, prefix + DEAD_LETTERS.name)
    publisher = Publisher(settings.kafka, *topics, phases, tracer)
    claiming = Session(settings.postgres, settings.schema_)
    saving = Session(settings.postgres, settings.schema_)
    republisher = Republisher(
        settings.kafka,
        prefix + EVENTS.name,
        Session(settings.postgres, settings.schema_),
        publisher,
    )

    def owned(parts: list[AssignedPartition]) -> None:
        applier.drop_states()
        applier.republished = spawn(republisher.republish(parts, applier.republished))

    def lost() -> None:
        applier.drop_states()

    buffer = PartitionBuffer(
        prefix + COMMANDS.name,
        PostgresPositions(claiming, CONSUMER),
        on_owned=owned,
        on_lost=lost,
    )
    applier = Applier(settings, buffer, publisher, phases, tracer)

    @app.agent(app.read(buffer), name="apply_commands")
    async def apply_commands(stream: Any) -> None:
        queue = stream.channel.queue
        async for event in stream.noack().events():
            buffer.receive(event.value)
            while batch := await buffer.poll_batch(queue):
                await applier.apply(batch)

    @app.timer(SAVE_EVERY)
    async def save_positions() -> None:
        await _save_published(buffer, saving)
        await app.hint(buffer)

    @app.timer(REPORT_EVERY)
    async def report() -> None:
        if seconds := phases.delta():
            log.info("phases", **seconds)

    async def close() -> None:
        await applier.close()
        await _save_published(buffer, saving)
        await saving.close()
        await claiming.close()
        await close_tracer(tracer)

    app.on_close(close)


async def _save_published(buffer: PartitionBuffer, session: Session) -> None:
    """Save the published positions, so that a restart does not publish old events again."""
    published = {part.number: (part.epoch, part.published) for part in buffer.owned.values()}
    if not published:
        return
    with tolerating("save_published", session):
        await save_published(await session.get(), CONSUMER, buffer.topic, published)
