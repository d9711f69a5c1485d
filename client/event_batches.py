"""Batches of events with the positions between them, and the receipt of a consumer."""

from collections.abc import Sequence
from typing import NamedTuple

from execstream.streams.errors import Fatal, Transient
from execstream.streams.events import NOWHERE, Event, SourceOffset


class EventPosition(NamedTuple):
    """The place between two events of a partition: three integers to store.

    Attributes:
        next_offset: offset of the next record in the partition of the events topic.
        source_offset: offset in the source of the last event before it, -1 before all events.
        source_index: index in that source.
    """

    next_offset: int
    source_offset: int = NOWHERE[0]
    source_index: int = NOWHERE[1]

    @property
    def source(self) -> SourceOffset:
        """Events that are not above it were seen before."""
        return self.source_offset, self.source_index


class EventBatch(NamedTuple):
    """Events of one partition, in order, each of them once.

    Store `after` in one transaction with the effect of `events`, where `before` is stored now.
    """

    partition: int
    events: Sequence[Event]
    before: EventPosition
    after: EventPosition
    generation: int  # number of the assignment that the partition was read in


class EventReceipt(NamedTuple):
    """Counts of records between the positions at which a consumer began and those it has reached.

    Attributes:
        read: offsets passed, over all partitions and assignments.
        events: handed over.
        repeats: events that were seen before.
    """

    read: int = 0
    events: int = 0
    repeats: int = 0

    @property
    def others(self) -> int:
        """Offsets of records that are no events, and of marks of transactions."""
        return self.read - self.events - self.repeats


class EventsGone(Fatal):
    """The topic no longer has the events at a position, or never had them."""

    def __init__(self, topic: str, partition: int, wanted: int, begin: int, end: int) -> None:
        reason = (
            "retention has dropped the events between: read them with `execstream replay --events`"
            if wanted < begin
            else "the topic was recreated: begin at offset 0 with the same source"
        )
        super().__init__(
            f"{topic}[{partition}] has offsets from {begin} to {end} and not {wanted}: {reason}."
        )
        self.partition, self.wanted, self.begin, self.end = partition, wanted, begin, end


class PartitionReassigned(Transient):
    """The partition of a batch was assigned anew after the batch was read."""

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"Partition {partition} was assigned anew after this batch was read: its events come "
            "again, here or at another consumer of the group."
        )
        self.partition = partition
