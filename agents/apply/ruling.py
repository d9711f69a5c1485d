"""The quarantine's ruling on a batch: outcomes that are known before the fold."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from execstream.storage.log.dead_letters import RecordPosition
from execstream.streams.outcomes import Dead
from execstream.streams.quarantine import SetAside

Judged = Mapping[RecordPosition, Dead | SetAside]
# A partition and a key, or the offset of a record without one: nothing is parked behind that.
QueueId = tuple[int, bytes | int]


@dataclass(slots=True)
class Queue:
    """Open records of a key, in order; `bytes` of their values, keys and headers."""

    offsets: deque[int] = field(default_factory=deque)
    bytes: int = 0

    def copy(self) -> "Queue":
        """A queue that changes independently."""
        return Queue(deque(self.offsets), self.bytes)


@dataclass(slots=True)
class Ruling:
    """Decisions about the records of a batch, which hold once it is committed.

    Attributes:
        judged: records that are not applied.
        released: partition and offset of originals, and offset of their copy.
        queues: the queues that change, as they are after the batch.
    """

    judged: dict[RecordPosition, Dead | SetAside] = field(default_factory=dict)
    released: list[tuple[int, int, int]] = field(default_factory=list)
    queues: dict[QueueId, Queue] = field(default_factory=dict)
