"""One side of `bench/apply_cpu.py`: applies recorded commands with the code that PYTHONPATH names.

Imports the project only by the names in the table below, so that the same program runs an older
commit. Prints an empty JSON object when it is ready, then waits for a line on its standard input
before each batch and prints the CPU seconds of that batch: of this process by phase, their sum
`client`, and of its Postgres `backend`. Nothing is published.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TextIO

import msgspec
import psutil
from aiokafka import ConsumerRecord, TopicPartition

CONSUMER = "apply"
CACHE_BYTES = 64 * 1024 * 1024  # as in the default settings
MAX_COMMAND_BYTES = 8 * 1024 * 1024  # as in the default settings

# ---- all that differs between versions -----------------------------------------------------

# Modules, then names in them; newest first.
_FOLD = ("execstream.agents.apply.batch_fold", "agents.folding")
_BUFFER = ("execstream.agents.runtime.partition_buffer", "agents.intake")
_OFFSETS = ("execstream.agents.runtime.stored_offsets", "agents.positions")
_LOAD = ("execstream.agents.apply.state_loading", "agents.loading")
_SESSIONS = ("execstream.storage.connections", "execstream.storage.lines", "storage.lines")
_PLACES = {
    "decode_batch": (_FOLD, "decode_batch"),
    "fold_batch": (_FOLD, "fold_batch"),
    "Folded": (_FOLD, "BatchResult", "Work"),
    "Batch": (_BUFFER, "Batch"),
    "Portion": (_BUFFER, "PartitionBatch", "Portion"),
    "Buffer": (_BUFFER, "PartitionBuffer", "Intake"),
    "Positions": (_OFFSETS, "PostgresPositions"),
    "Cache": (("execstream.agents.apply.state_cache", "agents.cache"), "RunCache"),
    "load_states": (_LOAD, "load_states"),
    "commit": (("execstream.storage.commit.write_set", "storage.effects"), "commit"),
    "Days": (("execstream.storage.schema.day_partitions", "storage.days"), "Days"),
    "Session": (_SESSIONS, "Session", "Line"),
    "migrate": (("execstream.storage.schema.migrate", "storage.migrate"), "migrate"),
}
# Attributes of a folded batch.
_ROWS = ("write_set", "effects")
_OFFSET_COMMITS = ("offset_commits", "moves")


def resolve(source: Path) -> dict[str, Any]:
    """Functions and classes of the version in `source`, by the keys of the table."""
    found = {}
    for key, (modules, *names) in _PLACES.items():
        found[key] = _first([f"{module}:{name}" for module in modules for name in names])
        file = Path(sys.modules[found[key].__module__].__file__ or "")
        if not file.resolve().is_relative_to(source.resolve()):
            sys.exit(f"{key} was imported from {file}, which is not in {source}.")
    return found


def _first(places: list[str]) -> Any:
    for place in places:
        try:
            return resolve_name(place)
        except (ModuleNotFoundError, AttributeError):
            continue
    sys.exit(f"This version has none of {', '.join(places)}: add its name to {__file__}.")


def _either(owner: Any, names: tuple[str, ...]) -> Any:
    return getattr(owner, next(name for name in names if hasattr(owner, name)))


# ---- applying ------------------------------------------------------------------------------


class Applier:
    """Goes through the steps of `agents/apply/pipeline.py` one after the other, without Kafka."""

    def __init__(self, code: dict[str, Any], topic: str, dsn: str, schema: str) -> None:
        self._code = code
        self._topic = topic
        self._session = code["Session"](dsn, schema)
        self._cache = code["Cache"](CACHE_BYTES)
        self._days = code["Days"]()
        self._number = 0
        self._owned: dict[int, Any] = {}

    async def claim(self, partitions: set[int], end: int) -> None:
        """Own these partitions, none of which has more than `end` records."""
        positions = self._code["Positions"](self._session, CONSUMER)
        buffer = self._code["Buffer"](self._topic, positions)
        bounds = {TopicPartition(self._topic, number): (0, end) for number in partitions}
        self._owned = {owned.number: owned for owned in await buffer.claim(bounds)}

    async def apply(self, records: list[ConsumerRecord]) -> dict[str, float]:
        """Decode, load, fold and commit one batch; the CPU seconds it took."""
        code, batch = self._code, self._batch(records)
        seconds: dict[str, float] = {}
        connection = await self._session.get()
        backend = _backend_seconds(connection.get_server_pid())
        with _timed(seconds, "decode"):
            decoded = code["decode_batch"](batch, MAX_COMMAND_BYTES, {})
        self._number += 1
        folded = code["Folded"](batch, self._number, self._cache.generation)
        with _timed(seconds, "load"):
            await code["load_states"](self._session, self._cache, decoded, self._number)
        with _timed(seconds, "fold"):
            code["fold_batch"](folded, decoded, self._cache)
        with _timed(seconds, "commit"):
            rows, offset_commits = _either(folded, _ROWS), _either(folded, _OFFSET_COMMITS)
            await self._days.ensure(connection, rows.begun)
            await code["commit"](connection, CONSUMER, self._topic, offset_commits, rows)
            folded.count()
            self._cache.trim(self._number)
        seconds["client"] = sum(seconds.values())
        seconds["backend"] = _backend_seconds(connection.get_server_pid()) - backend
        return seconds

    def _batch(self, records: list[ConsumerRecord]) -> Any:
        portions: dict[int, Any] = {}
        for record in records:
            owned = self._owned[record.partition]
            if record.partition not in portions:
                portions[record.partition] = self._code["Portion"](owned, owned.next)
            portions[record.partition].records.append(record)
            owned.next = record.offset + 1
        return self._code["Batch"](portions[number] for number in sorted(portions))

    async def close(self) -> None:
        await self._session.close()


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    begun = time.process_time()
    yield
    seconds[phase] = time.process_time() - begun


def _backend_seconds(pid: int) -> float:
    """CPU seconds of a process so far, in nanoseconds where the kernel has them, else in ticks."""
    with suppress(FileNotFoundError):
        if nanoseconds := int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]):
            return nanoseconds / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def apply_all(options: argparse.Namespace, answers: TextIO) -> None:
    """Apply the batches of the file, each when its turn has come."""
    code = resolve(options.source)
    batches = _read(options.records, options.topic)
    await code["migrate"](options.dsn, options.schema)
    applier = Applier(code, options.topic, options.dsn, options.schema)
    partitions = {record.partition for batch in batches for record in batch}
    await applier.claim(partitions, sum(map(len, batches)))
    gc.freeze()  # this line and the next one as in `agents/worker.py`
    gc.set_threshold(100_000, 50, 100)
    print("{}", file=answers, flush=True)
    for batch in batches:
        if not sys.stdin.readline():
            sys.exit("The other end of the standard input is gone.")
        print(json.dumps(await applier.apply(batch)), file=answers, flush=True)
    await applier.close()


def _read(file: Path, topic: str) -> list[list[ConsumerRecord]]:
    batches = msgspec.msgpack.decode(file.read_bytes())
    return [[as_record(topic, *fields) for fields in batch] for batch in batches]


def as_record(
    topic: str, partition: int, offset: int, timestamp: int, key: bytes, value: bytes
) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=timestamp,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=len(key),
        serialized_value_size=len(value),
        headers=(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="where the code must lie")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--schema", required=True)
    answers = sys.stdout
    with redirect_stdout(sys.stderr):  # for logs
        asyncio.run(apply_all(parser.parse_args(), answers))


if __name__ == "__main__":
    main()
