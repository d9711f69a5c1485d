"""Cutting of batches by the size of their result, so that a commit is never long.

A batch ends before its entries or bytes are too many; the remaining records go back to the buffer,
ahead of later ones. Partitions are taken from the lightest to the heaviest, so that a partition
with few records need not wait for one with many; but one of which nothing was taken is the first
the next time.
"""

from collections.abc import Callable

from execstream.agents.apply.batch_fold import Decoded
from execstream.agents.runtime.partition_buffer import (
    Batch,
    PartitionBatch,
    PartitionBuffer,
    Record,
)
from execstream.storage.commit.write_set import is_full
from execstream.streams.commands import Command, CreateGraph, UpdateNodes
from execstream.streams.growth import more_bytes, more_entries
from execstream.streams.outcomes import Dead
from execstream.streams.quarantine import SetAside

Decode = Callable[[Record], Command | Dead | SetAside]


class BatchCutter:
    """Cuts the batches of `buffer`, and puts the rest back into it."""

    def __init__(self, buffer: PartitionBuffer) -> None:
        self._buffer = buffer
        self._passed_over: set[int] = set()  # partitions

    def decode(self, batch: Batch, decode: Decode) -> tuple[Batch, Decoded]:
        """Return the part of `batch` that may be folded together, and its commands. Each record is
        decoded once: records put back were not decoded.
        """
        taken, rest = Batch(), Batch()
        decoded: Decoded = []
        entries, size = 0, 0
        parts = self._in_turn(batch)
        self._passed_over.clear()
        for part in parts:
            commands: list[Command | Dead | SetAside] = []
            for record in part.records:
                if is_full(entries, size):
                    break
                command = decode(record)
                commands.append(command)
                size += len(record.value or b"")
                entries += 1
                if isinstance(command, CreateGraph | UpdateNodes):
                    entries += more_entries(command)
                    size += more_bytes(command)
            first, left = part.cut(len(commands))
            if first is not None:
                taken.append(first)
                decoded.append(commands)
            if left is not None:
                rest.append(left)
        self.put_back(rest, taken)
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
