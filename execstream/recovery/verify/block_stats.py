"""The changelog of the tally's Faust table of blocks against the totals in Postgres.

Both move while a load runs: a block is compared where both are at the same position.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer

from execstream.recovery.verify.reading import extent, records
from execstream.recovery.verify.report import MEND_ALL, START_TALLY, Difference, Report
from storage.recounting import counted
from storage.totals import load_live
from streams.live import LiveStats, block_value, encode_value

PATIENCE = 5.0  # seconds until what is committed must be published; workers need half a second
POLL = 0.25  # seconds

Values = dict[str, dict[str, Any]]


class BlockStatsChecks:
    """Compares once the topic has come to where the snapshot is, or patience is over."""

    def __init__(self, connection: asyncpg.Connection, report: Report) -> None:
        self._connection = connection
        self._report = report
        self.compared = 0
        self.moved = 0

    async def check(self, reader: AIOKafkaConsumer, topic: str, events: str) -> None:
        """The values of `topic` against the totals that the tally made of the topic `events`."""
        partitions = list(await counted(self._connection, events))
        try:
            expected = (await load_live(self._connection, partitions)).blocks
        except KeyError as error:  # minutes or days of what has no total
            self._report.add(
                Difference(
                    kind="block_total",
                    field="*",
                    expected="there",
                    found="missing",
                    mend=MEND_ALL,
                    place={"key": error.args[0]},
                )
            )
            return
        found: Values = {}
        read: dict[int, int] = {}
        for _ in range(round(PATIENCE / POLL)):
            await _read(reader, topic, read, found)
            if not _behind(expected, found):
                break
            await asyncio.sleep(POLL)
        for key, stats in expected.items():
            self._compare(key, stats, found.get(key))

    def _compare(self, key: str, stats: LiveStats, found: dict[str, Any] | None) -> None:
        expected = msgspec.json.decode(encode_value(block_value(key, stats)))
        if found is None:
            self._note(key, "*", "there", "missing")
        elif found["position"] > expected["position"]:
            self.moved += 1
        elif found["position"] < expected["position"]:
            self._note(key, "position", expected["position"], found["position"])
        else:
            self.compared += 1
            # A value keeps the minutes of its own time; the partition's newest may be later now.
            found["minutes"] = [one for one in found["minutes"] if one in expected["minutes"]]
            for name, value in expected.items():
                if found.get(name) != value:
                    self._note(key, name, value, found.get(name))

    def _note(self, key: str, name: str, expected: Any, found: Any) -> None:
        partition, _, block_id = key.partition("|")
        self._report.add(
            Difference(
                kind="block_stats",
                field=name,
                expected=expected,
                found=found,
                mend=START_TALLY,
                place={"source_partition": int(partition), "block_id": block_id},
            )
        )


def _behind(expected: Mapping[str, LiveStats], found: Values) -> bool:
    return any(
        key not in found or tuple(found[key]["position"]) < stats.place
        for key, stats in expected.items()
    )


async def _read(reader: AIOKafkaConsumer, topic: str, read: dict[int, int], found: Values) -> None:
    """Bring `found` up to the end of `topic`: of each key the value with the greatest position.
    `read`: how far it has come, by partition."""
    now = await extent(reader, topic)
    for partition, end in now.end.items():
        begin = max(read.get(partition, 0), now.first[partition])
        async for some in records(reader, topic, partition, begin, end):
            for record in some:
                _keep(record.key, record.value, found)
        read[partition] = end


def _keep(key: bytes | None, value: bytes | None, found: Values) -> None:
    if key is None or value is None:
        return
    name, stats = key.decode(), msgspec.json.decode(value)
    if name not in found or found[name]["position"] <= stats["position"]:
        found[name] = stats
