"""Cutting of batches by the size of their result, so that a commit is never long.

A batch ends before its entries or bytes are too many; the remaining records go back to the buffer,
ahead of later ones. Partitions are taken from the lightest to the heaviest, so that a partition
with few records need not wait for one with many; but one of which nothing was taken is the first
the next time.

A *heavy* command, one with a commit that alone takes long, ends its partition's share: the
partition is laden from there on, and its records are applied apart from those of the others
(`pipeline.py`).
"""

from collections.abc import Callable

from execstream.agents.apply.batch_fold import Decoded
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.partition_buffer import Batch, PartitionBatch, PartitionBuffer
from execstream.storage.commit.write_set import is_full
from execstream.streams.commands import Command, CreateGraph, UpdateNodes
from execstream.streams.growth import more_bytes, more_entries
from execstream.streams.outcomes import Dead
from execstream.streams.quarantine import SetAside

# From here on a command is heavy: some 30 ms of Postgres.
HEAVY_ENTRIES = 500
HEAVY_BYTES = 1024 * 1024

Decode = Callable[[Record], Command | Dead | SetAside]


class BatchCutter:
    """Cuts the batches of `buffer`, and puts the rest back into it."""

    def __init__(self, buffer: PartitionBuffer) -> None:
        self._buffer = buffer
        self._passed_over: set[int] = set()  # partitions

    def decode(
        self, batch: Batch, decode: Decode, *, with_heavy: bool = False
    ) -> tuple[Batch, Decoded]:
        """Return the part of `batch` that may be folded together, and its commands; heavy ones only
        `with_heavy`, and then it ends with the first, since other partitions wait while it is
        folded. Records put back are not decoded, but for a heavy command that is small.
        """
        taken, rest, heavy = Batch(), Batch(), Batch()
        decoded: Decoded = []
        entries, size = 0, 0
        parts = self._in_turn(batch)
        self._passed_over.clear()
        for part in parts:
            commands: list[Command | Dead | SetAside] = []
            ends_heavy = False
            for record in part.records:
                if is_full(entries, size) or (with_heavy and _is_heavy(entries, size)):
                    break
                grown, more = 1, len(record.value or b"")
                if ends_heavy := not with_heavy and _is_heavy(grown, more):
                    break
                command = decode(record)
                if isinstance(command, CreateGraph | UpdateNodes):
                    grown += more_entries(command)
                    more += more_bytes(command)
                    if ends_heavy := not with_heavy and _is_heavy(grown, more):
                        break
                commands.append(command)
                entries, size = entries + grown, size + more
            first, left = part.cut(len(commands))
            if first is not None:
                taken.append(first)
                decoded.append(commands)
            if left is not None:
                (heavy if ends_heavy else rest).append(left)
        self.put_back(rest, taken)
        self._buffer.put_apart(heavy)
        return taken, decoded

    def put_back(self, rest: Batch, taken: Batch) -> None:
        """Let `rest` be read again, after `taken` of the same batch."""
        self._buffer.put_back(rest)
        started = {part.owned.number for part in taken}
        self._passed_over |= {part.owned.number for part in rest} - started

    def _in_turn(self, batch: Batch) -> list[PartitionBatch]:
        if len(batch) == 1:
            return batch
        return sorted(
            batch, key=lambda part: (part.owned.number not in self._passed_over, part.bytes)
        )


def _is_heavy(entries: int, size: int) -> bool:
    return entries >= HEAVY_ENTRIES or size >= HEAVY_BYTES
