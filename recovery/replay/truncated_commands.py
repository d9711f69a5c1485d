"""Commands about runs that began before the start of a replay and have lost their journal.

The states of these runs at the start are unknown. The live schema's rows of them, and its
judgements of each such command, are copied; everything else is folded. Of runs that were left out,
only judgements are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from execstream.agents.apply.batch_fold import Decoded
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.partition_buffer import Batch, PartitionBatch
from execstream.recovery.replay.assignment import Writer
from execstream.recovery.replay.truncated_runs import (
    lost_among,
    take_over_judgements,
    take_over_runs,
)
from execstream.streams.commands import Command, CreateGraph, RunCommand
from execstream.streams.outcomes import Dead
from execstream.streams.quarantine import SetAside
from execstream.streams.state import Run


@dataclass(slots=True)
class _Rest(PartitionBatch):
    """The folded rest of a partition batch that ends before `end`."""

    end: int = 0

    @property
    def next_offset(self) -> int:
        return self.end


async def without_lost(writer: Writer, batch: Batch, decoded: Decoded) -> tuple[Batch, Decoded]:
    """Batch and commands without those about lost runs, of which copies are made."""
    lost = await _lost(writer, batch, decoded)
    unreadable = {
        command.graph_exec_id: record.partition
        for record, command in _records(batch, decoded)
        if isinstance(command, RunCommand) and command.graph_exec_id in writer.unreadable
    }
    if not lost and not unreadable:
        return batch, decoded
    places = [
        (record.partition, record.offset)
        for record, command in _records(batch, decoded)
        if _is_about(command, record, lost | unreadable)
    ]
    connection = await writer.session.get()
    live, bases = writer.assignment.live, {part.number: part.base for part in writer.parts}
    await take_over_runs(connection, live, lost.keys() - writer.unreadable)
    await take_over_judgements(connection, live, writer.assignment.topic, places, bases)
    rest, commands = Batch(), []
    for part, some in zip(batch, decoded, strict=True):
        kept = [
            (record, command)
            for record, command in zip(part.records, some, strict=True)
            if not _is_about(command, record, lost | unreadable)
        ]
        records = [record for record, _ in kept]
        rest.append(_Rest(part.owned, part.expected, records, part.next_offset))
        commands.append([command for _, command in kept])
    return rest, commands


async def _lost(writer: Writer, batch: Batch, decoded: Decoded) -> dict[str, int]:
    """Lost runs that `decoded` is about, with their partitions."""
    first: dict[str, tuple[int, RunCommand]] = {}
    for record, command in _records(batch, decoded):
        if isinstance(command, RunCommand) and _may_be_lost(
            writer.cache.get(command.graph_exec_id)
        ):
            first.setdefault(command.graph_exec_id, (record.partition, command))
    partitions = {run_id: partition for run_id, (partition, _) in first.items()}
    found = await lost_among(await writer.session.get(), writer.assignment.live, partitions)
    return {
        run_id: partitions[run_id]
        for run_id, one in found.items()
        # One that begins here is folded, whatever became of it later.
        if one.is_copied or not _begins(first[run_id][1], one.created_at)
    }


def _may_be_lost(run: Run | None) -> bool:
    """Return whether the cached state is missing or unreliable."""
    return run is None or run.is_deleted or run.trimmed_at is not None


def _begins(command: RunCommand, created_at: datetime) -> bool:
    return isinstance(command, CreateGraph) and command.time == created_at


def _is_about(command: Command | Dead | SetAside, record: Record, lost: Mapping[str, int]) -> bool:
    return isinstance(command, RunCommand) and lost.get(command.graph_exec_id) == record.partition


def _records(batch: Batch, decoded: Decoded) -> Iterator[tuple[Record, Command | Dead | SetAside]]:
    for part, commands in zip(batch, decoded, strict=True):
        yield from zip(part.records, commands, strict=True)
