"""Published values of blocks, `execution.block-stats.v1`, against the totals in Postgres.

Both move while a load runs: a block is compared where both are at the same position.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer

from execstream.config.settings import Settings
from execstream.kafka.producer import Producer
from execstream.kafka.reader import consumer, extent, records
from execstream.recovery.verify.recomputed_totals import counted
from execstream.recovery.verify.repair import fence_off, held
from execstream.recovery.verify.report import MEND_ALL, Difference, Report
from execstream.storage import connections
from execstream.storage.commit.totals import load_live
from execstream.storage.connections import REPLAY
from execstream.streams.errors import NOT_READABLE
from execstream.streams.events import SourceOffset
from execstream.streams.topics import BLOCK_STATS, EVENTS
from execstream.streams.totals.live_values import (
    LiveStats,
    block_value,
    encode_value,
    partition_of_key,
)

PATIENCE = 5.0  # seconds until committed totals must be published; workers need half a second
POLL = 0.25  # seconds

_Key = tuple[int, bytes]  # partition of the topic, and the record's key
_UNREADABLE: dict[str, Any] = {"position": [-1, -1]}


class Wrong(NamedTuple):
    """A key with a published value that differs from the totals: JSON objects; None where no value
    is expected, or none is there. `value`: the value to publish.
    """

    key: _Key
    expected: dict[str, Any] | None
    found: dict[str, Any] | None
    value: bytes | None


@dataclass
class Compared:
    """Counts of right values and of those that changed after the snapshot, and the wrong ones."""

    same: int = 0
    moved: int = 0
    wrong: list[Wrong] = field(default_factory=list)


async def compare(
    settings: Settings, connection: asyncpg.Connection, reader: AIOKafkaConsumer
) -> Compared:
    """The newest values of the topic beside the totals that `connection` sees, once the topic has
    reached these, or PATIENCE is over.

    Raises KeyError with the key of minutes or days that have no total.
    """
    topic, events = (settings.topic_prefix + one.name for one in (BLOCK_STATS, EVENTS))
    upto = await counted(connection, events)
    live = (await load_live(connection, list(upto))).blocks
    expected = {(partition_of_key(key), key.encode()): stats for key, stats in live.items()}
    reading = _Reading(reader, topic)
    for _ in range(round(PATIENCE / POLL)):
        await reading.go_on()
        if not _is_behind(expected, reading.found):
            break
        await asyncio.sleep(POLL)
    # Only committed totals are published: no worker has counted a value beyond this.
    async with connections.connection(settings.postgres, settings.schema_, REPLAY) as other:
        now = await counted(other, events)
    compared = Compared()
    for key in sorted(expected.keys() | reading.found.keys()):
        _compare(compared, key, expected.get(key), reading.found.get(key), upto, now)
    return compared


def _compare(
    compared: Compared,
    key: _Key,
    stats: LiveStats | None,
    found: dict[str, Any] | None,
    upto: Mapping[int, SourceOffset],
    now: Mapping[int, SourceOffset],
) -> None:
    if found is not None:
        nothing = (-1, -1)
        partition = key[0]
        if upto.get(partition, nothing) < _place(found) <= now.get(partition, nothing):
            compared.moved += 1
            return
    value = expected = None
    if stats is not None:
        value = encode_value(block_value(key[1].decode(), stats))
        expected = msgspec.json.decode(value)
    if expected is not None and found is not None:
        # A value keeps the minutes of its own time; the partition's newest may be later now.
        minutes = [one for one in found.get("minutes", ()) if one in expected["minutes"]]
        if found | {"minutes": minutes} == expected:
            compared.same += 1
            return
    compared.wrong.append(Wrong(key, expected, found, value))


def note(wrong: Wrong, report: Report) -> None:
    """Report the differences, field by field."""
    partition, key = wrong.key
    name = key.decode(errors="replace")
    place = {"source_partition": partition, "block_id": name.partition("|")[2] or name}
    for name, expected, found in _fields(wrong):
        report.add(Difference("block_stats", name, expected, found, MEND_ALL, place=place))


def _fields(wrong: Wrong) -> list[tuple[str, Any, Any]]:
    if wrong.expected is None:
        return [("*", "missing", "there")]
    if wrong.found is None:
        return [("*", "there", "missing")]
    if wrong.found["position"] != wrong.expected["position"]:
        return [("position", wrong.expected["position"], wrong.found["position"])]
    return [
        (name, value, wrong.found.get(name))
        for name, value in wrong.expected.items()
        if wrong.found.get(name) != value
    ]


async def mend(settings: Settings) -> int:
    """Publish the totals where the topic differs from them; return the number of corrected values.
    The tally commits nothing meanwhile, and then begins again with these totals.

    Readers keep the value with the greatest position, so each value is preceded by a null.
    """
    async with (
        held(settings.postgres, settings.schema_, "tally") as holding,
        connections.connection(settings.postgres, settings.schema_, REPLAY) as connection,
        consumer(settings.kafka) as reader,
    ):
        wrong = (await compare(settings, connection, reader)).wrong
        if not wrong:
            return 0
        producer = Producer(settings.kafka, settings.topic_prefix + BLOCK_STATS.name)
        await producer.start()
        try:
            await asyncio.gather(
                *(
                    producer.send(one.key[1], value, partition=one.key[0])
                    for one in wrong
                    for value in ([None] if one.value is None else [None, one.value])
                )
            )
        finally:
            await producer.close()
        await fence_off(holding, "tally")
        return len(wrong)


def _is_behind(expected: Mapping[_Key, LiveStats], found: Mapping[_Key, Mapping[str, Any]]) -> bool:
    return any(
        key not in found or _place(found[key]) < stats.place for key, stats in expected.items()
    )


def _place(value: Mapping[str, Any]) -> SourceOffset:
    offset, index = value["position"]
    return (offset, index)


# Fields that a worker of an older version does not count.
_UNCOUNTED = {"cascaded": 0, "caller_failed": 0, "skewed": 0}


class _Reading:
    """Goes through the topic. `found`: of each key the value that a reader of it keeps."""

    def __init__(self, reader: AIOKafkaConsumer, topic: str) -> None:
        self.found: dict[_Key, dict[str, Any]] = {}
        self._reader = reader
        self._topic = topic
        self._read: dict[int, int] = {}

    async def go_on(self) -> None:
        """Read up to where the topic ends now."""
        now = await extent(self._reader, self._topic)
        for partition, end in now.end.items():
            begin = max(self._read.get(partition, 0), now.first[partition])
            async for some in records(self._reader, self._topic, partition, begin, end):
                for record in some:
                    self._keep((partition, record.key or b""), record.value)
            self._read[partition] = end

    def _keep(self, key: _Key, value: bytes | None) -> None:
        if value is None:
            self.found.pop(key, None)
            return
        stats = _decoded(value)
        if key not in self.found or _place(self.found[key]) <= _place(stats):
            self.found[key] = _UNCOUNTED | stats


class _Positioned(msgspec.Struct):
    position: SourceOffset


def _decoded(value: bytes) -> dict[str, Any]:
    """The object that `value` encodes; one without a position comes before everything."""
    try:
        msgspec.json.decode(value, type=_Positioned)
        return msgspec.json.decode(value, type=dict[str, Any])
    except NOT_READABLE:
        return dict(_UNREADABLE)
