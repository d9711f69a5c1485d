"""B2, Quix Streams with a batching sink that folds in memory and writes with B4's one statement."""

import asyncio
from typing import Any

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from bench.contenders.contender import BATCH, Progress, commands_topic, connect, read_job
from bench.contenders.small_machine import SmallMachine
from bench.contenders.small_schema import COMMIT
from execstream.config.settings import Settings


class PostgresSink(BatchingSink):  # type: ignore[misc] # checked without its package
    """Folds a batch and commits its rows."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._machine = SmallMachine()
        self._loop = asyncio.new_event_loop()
        self._connection: Any = self._loop.run_until_complete(connect(settings))

    def write(self, batch: SinkBatch) -> None:
        """Commit the records gathered for a partition."""
        last = 0
        for item in batch:
            self._machine.apply(item.value)
            last = item.offset
        rows = self._machine.take().rows()
        self._loop.run_until_complete(
            self._connection.execute(COMMIT, [batch.partition], [last + 1], *rows)
        )
        self._progress.add(batch.size)


def main() -> None:
    job, settings = read_job()
    topic = commands_topic(settings)
    app = Application(
        broker_address=settings.kafka,
        consumer_group=f"{topic}.b2",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        commit_every=BATCH,
        loglevel="ERROR",
    )
    commands = app.topic(topic, value_deserializer="bytes", key_deserializer="bytes")
    app.dataframe(commands).sink(PostgresSink(settings, Progress(job.total)))
    app.run()


if __name__ == "__main__":
    main()
