"""The parts that all contenders share: their job, and the report of their progress.

A contender is a program, `python -m bench.contenders.NAME JOB`, with the addresses of servers in
the environment. It prints one line of JSON, `{"committed": N}`, at its first commit and one when
all records of the job are committed. The measurement is the time between the two lines.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg
import msgspec

from execstream.config.settings import Settings, read_settings
from execstream.streams.topics import COMMANDS
from execstream.workload.simulation import Sent

BATCH = 2_000  # records in one transaction, of those contenders that make batches


class Job(msgspec.Struct):
    """Records to commit: those below `ends`, by partition, or those of the file `records`."""

    total: int
    ends: dict[int, int] = {}
    records: str = ""
    callers: int = 1


class Progress:
    """Prints the two lines."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._committed = 0

    def add(self, count: int) -> None:
        """`count` more records are committed."""
        first = self._committed == 0
        self._committed += count
        if first or self._committed >= self._total:
            line = {"committed": self._committed, "at": time.monotonic()}
            # Faust puts its log in the place of `sys.stdout`.
            print(json.dumps(line), file=sys.__stdout__, flush=True)

    @property
    def is_done(self) -> bool:
        """Return whether all records are committed."""
        return self._committed >= self._total


def read_job() -> tuple[Job, Settings]:
    """The job that the command line has, and the settings."""
    return msgspec.json.decode(sys.argv[1], type=Job), read_settings()


def commands_topic(settings: Settings) -> str:
    """The name of the topic that all contenders read."""
    return settings.topic_prefix + COMMANDS.name


def write_records(file: Path, records: Sequence[Sent]) -> None:
    """Write the records of a job for a contender that does not read Kafka."""
    file.write_bytes(msgspec.msgpack.encode(records))


def read_records(job: Job) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each record."""
    yield from msgspec.msgpack.decode(Path(job.records).read_bytes())


async def connect(settings: Settings) -> asyncpg.Connection:
    """A connection with a search path to the contender's tables."""
    return await asyncpg.connect(
        settings.postgres, server_settings={"search_path": settings.schema_}
    )
