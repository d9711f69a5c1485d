"""Values of the live tables: totals of a block, or of a node of a graph, and its recent past.

One entry per source partition. As JSON, blocks are the records of `execution.block-stats.v1`
(`docs/contract.md`, section 1); everything in it is absolute.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from execstream.streams import append_time
from execstream.streams.events import SourceOffset
from execstream.streams.totals.aggregation import MINUTES_PER_DAY, Totals, time_of

RECENT_MINUTES: Final = 60
RECENT_DAYS: Final = 2
# Minutes after now. Events dated later are left out of the recent past; the totals count them where
# the append time is unknown, because then skew cannot be detected.
MOST_AHEAD: Final = append_time.MOST_AHEAD // timedelta(minutes=1)


class LiveStats(Struct):
    """`recent`: (ended, failed) by minute of a block, or by day of a node; `place`: the last
    source in it."""

    place: SourceOffset
    totals: Totals
    recent: dict[int, tuple[int, int]]

    def add(self, when: int, more: Totals, *, is_ahead: bool = False) -> None:
        """Add the totals of minute or day `when`, which is no recent one if it `is_ahead`."""
        self.totals.add(more)
        if more.ended and not is_ahead:
            ended, failed = self.recent.get(when, (0, 0))
            self.recent[when] = (ended + more.ended, failed + more.failed)

    def forget(self, until: int) -> None:
        """Drop minutes or days up to `until` from the recent past."""
        if self.recent and min(self.recent) <= until:
            self.recent = {when: counts for when, counts in self.recent.items() if when > until}


def block_key(partition: int, block_id: str) -> str:
    return f"{partition}|{block_id}"


def node_key(partition: int, graph_id: str, node_id: str) -> str:
    """A slash is in no id."""
    return f"{partition}|{graph_id}/{node_id}"


def partition_of_key(key: str) -> int:
    return int(key[: key.index("|")])


def block_value(key: str, stats: LiveStats) -> dict[str, Any]:
    """The published value of a block; `minutes` that are not there had no end."""
    partition, _, block_id = key.partition("|")
    minutes = [[_moment(when), *counts] for when, counts in sorted(stats.recent.items())]
    return {"block_id": block_id, **_common(partition, stats), "minutes": minutes}


def node_value(key: str, stats: LiveStats) -> dict[str, Any]:
    """The published value of a node; `days` that are not there had no end."""
    partition, _, node = key.partition("|")
    graph_id, _, node_id = node.partition("/")
    days = [
        [_moment(when * MINUTES_PER_DAY)[:10], *counts]
        for when, counts in sorted(stats.recent.items())
    ]
    return {"graph_id": graph_id, "node_id": node_id, **_common(partition, stats), "days": days}


def merged(values: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Totals over all source partitions, merged from the values of workers; by id.

    `values` are those of `block_value`, or of `node_value`. Where two values are of one partition,
    which has just changed hands, the one with the later position counts.
    """
    furthest: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for value in values:
        key = (*_id_of(value), str(value["source_partition"]))
        if key not in furthest or furthest[key]["position"] < value["position"]:
            furthest[key] = value
    sums: dict[tuple[str, ...], dict[str, Any]] = {}
    for _, value in sorted(furthest.items()):
        into = sums.setdefault(_id_of(value), _nothing(value))
        for name in Totals.__struct_fields__:
            into[name] += value.get(name, 0)  # a worker of an older version counts less
        recent = "minutes" if "minutes" in value else "days"
        counts = {when: (ended, failed) for when, ended, failed in into[recent]}
        for when, ended, failed in value[recent]:
            before = counts.get(when, (0, 0))
            counts[when] = (before[0] + ended, before[1] + failed)
        into[recent] = [[when, *counted] for when, counted in sorted(counts.items())]
    return list(sums.values())


def _id_of(value: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(value[name] for name in ("block_id", "graph_id", "node_id") if name in value)


def _nothing(value: Mapping[str, Any]) -> dict[str, Any]:
    """A value with the ids of `value` and nothing counted."""
    ids = {name: value[name] for name in ("block_id", "graph_id", "node_id") if name in value}
    recent = "minutes" if "minutes" in value else "days"
    return {**ids, **dict.fromkeys(Totals.__struct_fields__, 0), recent: []}


def encode_value(value: object) -> bytes:
    """JSON; sums may be beyond the 64 bits that the fast encoder writes."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return json.dumps(value, separators=(",", ":")).encode()


def _common(partition: str, stats: LiveStats) -> dict[str, Any]:
    return {
        "source_partition": int(partition),
        "position": stats.place,
        **msgspec.structs.asdict(stats.totals),
    }


def _moment(minute: int) -> str:
    return time_of(minute).isoformat().replace("+00:00", "Z")
