"""Records in quarantine on the partitions of this worker, and the records that they concern.

A key with an open record holds back all later records of that key, in order; copies of the first
one release it (`streams/quarantine.py`).
"""

from collections.abc import Sequence

from execstream.agents.apply.ruling import Judged, Queue, QueueId, Ruling
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.metrics import QUARANTINE_RECORDS
from execstream.agents.runtime.partition_buffer import Batch
from execstream.storage.commit.quarantine_rows import open_records
from execstream.storage.connections import Session
from execstream.streams.decoding import read_sender
from execstream.streams.outcomes import Dead, DeadReason, Quarantined, QuarantineReason
from execstream.streams.quarantine import (
    OFFSET,
    Origin,
    Release,
    SetAside,
    is_full,
    origin_of,
)

_SKIPPED = "An operator skipped the record, because applying it had failed each time"
_FULL = "A record of the same key is in quarantine, and as many wait behind it as may"


class Quarantine:
    """Follows the open records as they are committed."""

    def __init__(self) -> None:
        self._queues: dict[QueueId, Queue] = {}

    def clear(self) -> None:
        """Forget everything: the partitions are lost, or claimed again."""
        self._queues.clear()
        self._count()

    async def load(self, session: Session, topic: str, partitions: Sequence[int]) -> None:
        """Read the open records on `partitions`."""
        rows = await open_records(await session.get(), topic, partitions)
        for place in [place for place in self._queues if place[0] in partitions]:
            del self._queues[place]
        for row in rows:
            place = _queue_id(row["partition"], row["offset"], row["key"])
            queue = self._queues.setdefault(place, Queue())
            queue.offsets.append(row["offset"])
            queue.bytes += row["bytes"]
        self._count()

    def concerns(self, batch: Batch) -> bool:
        """Return whether the quarantine concerns a record of `batch`."""
        return bool(self._queues) and bool(self._concerned(batch, {}))

    def judge(self, batch: Batch, faults: Judged) -> Ruling:
        """Decide about records in the order of their offsets; those of `faults` fail each time."""
        concerned = self._concerned(batch, faults)
        ruling = Ruling()
        for record in concerned:
            self._judge(record, faults.get((record.partition, record.offset)), ruling)
        return ruling

    def _concerned(self, batch: Batch, faults: Judged) -> list[Record]:
        if faults or self._queues:
            keys = {key for _, key in self._queues}
            return [
                one
                for part in batch
                for one in part.records
                if one.key in keys
                or (one.partition, one.offset) in faults
                or (one.headers and _is_copy(one))
            ]
        # Nearly always: most records have no headers, and this is all that they cost.
        return [one for part in batch for one in part.records if one.headers and _is_copy(one)]

    def _judge(self, record: Record, fault: Dead | SetAside | None, ruling: Ruling) -> None:
        place = (record.partition, record.offset)
        origin = origin_of(record.headers)
        queue_id = _queue_id(record.partition, origin.offset if origin else place[1], record.key)
        queue = self._queue(queue_id, ruling)
        if origin is not None and origin.offset < record.offset:
            _judge_copy(record, origin, fault, queue, ruling)
        elif queue.offsets:
            ruling.judged[place] = _park(record, queue)
        elif fault is not None:
            ruling.judged[place] = fault
            if isinstance(fault, SetAside):
                _append(queue, record)

    def _queue(self, queue_id: QueueId, ruling: Ruling) -> Queue:
        if queue_id not in ruling.queues:
            ruling.queues[queue_id] = self._queues.get(queue_id, Queue()).copy()
        return ruling.queues[queue_id]

    def settle(self, ruling: Ruling) -> None:
        """`ruling` is committed."""
        for queue_id, queue in ruling.queues.items():
            if queue.offsets:
                self._queues[queue_id] = queue
            else:
                self._queues.pop(queue_id, None)
        if ruling.queues:
            self._count()

    def _count(self) -> None:
        QUARANTINE_RECORDS.set(sum(len(queue.offsets) for queue in self._queues.values()))


def _judge_copy(
    record: Record, origin: Origin, fault: Dead | SetAside | None, queue: Queue, ruling: Ruling
) -> None:
    place = (record.partition, record.offset)
    is_first = bool(queue.offsets) and queue.offsets[0] == origin.offset
    if not is_first or isinstance(fault, SetAside):
        detail = {"original": origin.offset} if not is_first else _detail(fault)
        outcome = Quarantined(QuarantineReason.COPY, detail)
        failed = origin.offset if is_first else None
        ruling.judged[place] = SetAside(outcome, read_sender(None), failed)
        return
    queue.offsets.popleft()
    queue.bytes = max(0, queue.bytes - _size(record)) if queue.offsets else 0
    ruling.released.append((record.partition, origin.offset, record.offset))
    if origin.release is Release.SKIP:
        ruling.judged[place] = Dead(
            DeadReason.QUARANTINED, {"original": origin.offset, "message": _SKIPPED}
        )
    elif fault is not None:
        ruling.judged[place] = fault


def _detail(fault: Dead | SetAside | None) -> dict[str, object]:
    return dict(fault.outcome.detail) if isinstance(fault, SetAside) else {}


def _park(record: Record, queue: Queue) -> Dead | SetAside:
    behind = {"behind": queue.offsets[0]}
    if is_full(len(queue.offsets), queue.bytes):
        return Dead(DeadReason.RUN_QUARANTINED, behind | {"message": _FULL})
    _append(queue, record)
    return SetAside(Quarantined(QuarantineReason.PARKED, behind), read_sender(record.value))


def _append(queue: Queue, record: Record) -> None:
    queue.offsets.append(record.offset)
    queue.bytes += _size(record)


def _queue_id(partition: int, offset: int, key: bytes | None) -> QueueId:
    return partition, key or offset


def _is_copy(record: Record) -> bool:
    for name, _ in record.headers:  # noqa: SIM110 - `any` and its generator cost twice as much
        if name == OFFSET:
            return True
    return False


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers
