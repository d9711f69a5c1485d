"""Progress of a worker's partitions: lag, standstill, and delays by open transactions.

All times are this machine's, because producers may have any. How long the oldest waiting record has
been there follows from earlier looks at the end of its partition.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import cast

from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from execstream.agents.runtime.faust_app import App, Consumer
from execstream.agents.runtime.metrics import (
    HELD_BACK_RECORDS,
    LAG_RECORDS,
    LAG_SECONDS,
    PARTITIONS,
    POSITION_TIMESTAMP,
)
from execstream.agents.runtime.partition_buffer import AssignedPartition, Ends

SETTLING = 2  # times as long as for progress: a rebalance alone may take half a minute
MOST_LOOKS = 3_600  # that are remembered of a partition; at least as many seconds

_GAUGES = (LAG_RECORDS, LAG_SECONDS, POSITION_TIMESTAMP, HELD_BACK_RECORDS)


@dataclass(slots=True)
class _Seen:
    """The observations of a partition. Times are of `time.monotonic`.

    Attributes:
        moved_at: when it last moved, or a fetch found nothing that it could have read.
        held_at: since when nothing but an open transaction keeps it from moving.
        ends: the end of the topic at each look, (time, offset), from the last look on at which it
            had no lag.
    """

    owned: AssignedPartition
    done: int
    owned_at: float
    moved_at: float
    held_at: float | None = None
    ends: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MOST_LOOKS))

    def look(self, ends: Ends, now: float, fetched_at: float) -> None:
        """Take in where the topic ended, and where the partition is."""
        done = self.owned.done
        if done != self.done:
            self.moved_at, self.done = now, done
        elif ends.stable <= done:
            self.moved_at = max(self.moved_at, fetched_at)
        is_held = ends.stable <= done < ends.high
        self.held_at = (self.held_at or now) if is_held else None
        if self.ends and self.ends[-1][1] == ends.high:
            self.ends.pop()
        self.ends.append((now, ends.high))
        while len(self.ends) > 1 and self.ends[1][1] <= done:
            self.ends.popleft()

    def waiting(self, now: float) -> float:
        """Seconds that the oldest waiting record has been there at most.

        Records that waited when the partition became ours are as old as the append time of the
        record before them; where that is unknown, as old as our ownership.
        """
        seen_at, end = self.ends[0]
        if end <= self.owned.done:
            return now - seen_at
        if self.owned.done_at is not None:
            return max(0.0, time.time() - self.owned.done_at.timestamp())
        return now - self.owned_at


class Progress:
    """Watches the progress of an app's owned partitions, and that it claims assigned ones."""

    def __init__(self, app: App, stall_after: float) -> None:
        self._app = app
        self._stall_after = stall_after
        self._seen: dict[TP, _Seen] = {}
        self._settled_at = time.monotonic()

    def observe(self) -> None:
        """Look at every partition; sets the gauges of lag."""
        seen: dict[TP, _Seen] = {}
        for topic, buffer in self._app.buffers.items():
            PARTITIONS.labels(topic).set(len(buffer.owned))
            ends = buffer.ends()
            for owned in buffer.owned.values():
                seen[owned.tp] = self._look(owned, ends.get(owned.number))
        for tp in self._seen.keys() - seen.keys():
            for gauge in _GAUGES:
                gauge.remove(tp.topic, str(tp.partition))
        self._seen = seen
        if not self.unsettled():
            self.excuse()

    def unsettled(self) -> list[str]:
        """Topics of which nothing is ours although it is assigned, or is being assigned."""
        try:
            assigned = {tp.topic for tp in self._app.consumer.assignment()}
        except ConsumerNotStarted:
            return []  # no broker has answered yet
        return [
            topic
            for topic, buffer in sorted(self._app.buffers.items())
            if not buffer.owned and (self._app.rebalancing or topic in assigned)
        ]

    def excuse(self) -> None:
        """Restart the assignment timeout."""
        self._settled_at = time.monotonic()

    def stalled(self) -> list[str]:
        """Partitions that have not moved for `stall_after` seconds, as topic[number], and topics
        that have not been settled for SETTLING times as long."""
        now = time.monotonic()
        partitions = [
            _name(tp)
            for tp, seen in sorted(self._seen.items())
            if seen.moved_at < now - self._stall_after
        ]
        is_settling = self._settled_at >= now - SETTLING * self._stall_after
        return partitions if is_settling else partitions + self.unsettled()

    def held_back(self) -> list[TP]:
        """Partitions that an open transaction has kept from moving for `stall_after` seconds."""
        since = time.monotonic() - self._stall_after
        return [
            tp
            for tp, seen in sorted(self._seen.items())
            if seen.held_at is not None and seen.held_at < since
        ]

    def _look(self, owned: AssignedPartition, ends: Ends | None) -> _Seen:
        now = time.monotonic()
        seen = self._seen.get(owned.tp)
        if seen is None or seen.owned is not owned:
            seen = _Seen(owned, owned.done, owned_at=now, moved_at=now)
        if ends is not None:
            seen.look(ends, now, cast(Consumer, self._app.consumer).fetched_at)
        _set_gauges(seen, ends or Ends(owned.done, owned.done), now)
        return seen


def _set_gauges(seen: _Seen, ends: Ends, now: float) -> None:
    owned = seen.owned
    labels = (owned.tp.topic, str(owned.number))
    lag = max(0, ends.high - owned.done)
    LAG_RECORDS.labels(*labels).set(lag)
    LAG_SECONDS.labels(*labels).set(seen.waiting(now) if lag else 0)
    HELD_BACK_RECORDS.labels(*labels).set(max(0, ends.high - max(ends.stable, owned.done)))
    POSITION_TIMESTAMP.labels(*labels).set(owned.done_at.timestamp() if owned.done_at else 0)


def _name(tp: TP) -> str:
    return f"{tp.topic}[{tp.partition}]"
