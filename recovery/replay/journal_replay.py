"""Replay of the live schema's journal into rows, by the fold that makes live states.

Entries are read in the order of their sources, partition by partition, so that the totals come out
in the order in which they were counted. Erased runs, and runs that retention has trimmed, are
copied as far as they are left. A run with an entry that cannot be read is left out.
"""

from collections.abc import AsyncIterator, Sequence

import asyncpg
from msgspec import Raw

from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.recovery.replay.assignment import TakenOver, Writer
from execstream.recovery.replay.journal_facts import fact_of
from execstream.recovery.replay.live_schema import entries
from execstream.recovery.replay.truncated_runs import take_over_runs
from execstream.storage.commit.consumer_offsets import FENCED, OffsetCommit
from execstream.storage.commit.write_set import WriteSet
from execstream.storage.connections import Session, sqlstate
from execstream.storage.log.run_states import entry_cell, entry_of, load_runs
from execstream.storage.unreadable_rows import NOT_AS_WRITTEN, UnreadableRun, unreadable_run
from execstream.streams.events import NOWHERE
from execstream.streams.fold import evolve, new_run
from execstream.streams.journal import Entry, EntryType
from execstream.streams.totals.aggregation import Tally

BATCH_BYTES = 12 * 1024 * 1024  # of values and details

Rows = Sequence[asyncpg.Record]


async def replay_entries(writer: Writer) -> None:
    """Evolve the runs of the writer's partitions by the entries before the share's ends."""
    assignment = writer.assignment
    reading = Session(assignment.settings.postgres, assignment.live)
    try:
        for part in writer.parts:
            end = assignment.ends[part.number]
            async for rows in _batches(await reading.get(), writer, part, end):
                if assignment.is_orphaned:
                    return
                async with writer.throttle.turn():
                    await _apply(writer, part, rows, rows[-1]["source_offset"] - part.base + 1)
            if part.next < end:
                await _apply(writer, part, (), end)
    except asyncpg.PostgresError as error:
        if sqlstate(error) == FENCED:
            raise TakenOver(f"Another replay into {assignment.schema} has begun.") from error
        raise
    finally:
        await reading.close()


async def _batches(
    connection: asyncpg.Connection, writer: Writer, part: AssignedPartition, end: int
) -> AsyncIterator[Rows]:
    """Rows in stretches that end where a command does."""
    rows: list[asyncpg.Record] = []
    size = 0
    base = part.base
    found = entries(connection, writer.assignment.live, part.number, part.next + base, end + base)
    async for row in found:
        is_full = len(rows) >= writer.limit() or size >= BATCH_BYTES
        if is_full and row["source_offset"] != rows[-1]["source_offset"]:
            yield rows
            rows, size = [], 0
        rows.append(row)
        size += len(row["data"] or "") + len(row["detail"] or "")
    if rows:
        yield rows


async def _apply(writer: Writer, part: AssignedPartition, rows: Rows, next_offset: int) -> None:
    unreadable: dict[str, UnreadableRun] = {}
    write_set, tally = await _fold(writer, rows, unreadable)
    if unreadable:  # runs depend on nothing but themselves: the others can be folded
        await writer.leave_out(unreadable)
        write_set, tally = await _fold(writer, rows, unreadable)
    write_set.build_rows()
    for run_id in write_set.run_ids():
        if run := writer.cache.get(run_id):
            writer.cache.put(run, writer.number)
    offset_commit = OffsetCommit(part.number, part.next, part.epoch, next_offset, *NOWHERE)
    await writer.write([offset_commit], write_set, tally)
    part.next = next_offset


async def _fold(
    writer: Writer, rows: Rows, unreadable: dict[str, UnreadableRun]
) -> tuple[WriteSet, Tally]:
    """The rows and totals of `rows`, except for runs that are left out; unreadable runs are added
    to `unreadable`.
    """
    writer.number += 1
    write_set, tally = WriteSet(), Tally(writer.definitions)
    kept = [row for row in rows if str(row["graph_exec_id"]) not in writer.unreadable]
    await _load(writer, kept, unreadable)
    for row in kept:
        run_id = str(row["graph_exec_id"])
        if run_id in unreadable:
            continue
        try:
            _evolve(writer, row, write_set, tally)
        except NOT_AS_WRITTEN as error:
            unreadable[run_id] = unreadable_run(run_id, error, entry_cell(row))
    return write_set, tally


async def _load(writer: Writer, rows: Rows, unreadable: dict[str, UnreadableRun]) -> None:
    """Load the runs that `rows` continue; runs without their beginning are copied instead."""

    def leave_out(error: UnreadableRun) -> None:
        unreadable[error.graph_exec_id] = error

    run_ids = dict.fromkeys(str(row["graph_exec_id"]) for row in rows)
    begun = {str(row["graph_exec_id"]) for row in rows if row["type"] == EntryType.GRAPH_CREATED}
    missing = [one for one in writer.cache.hold(run_ids, writer.number) if one not in begun]
    if not missing:
        return
    connection = await writer.session.get()
    loaded = await load_runs(connection, missing, unreadable=leave_out)
    for run in loaded.values():
        writer.cache.put(run, writer.number)
    known = loaded.keys() | unreadable.keys()
    if erased := [run_id for run_id in missing if run_id not in known]:
        await take_over_runs(connection, writer.assignment.live, erased)


def _evolve(writer: Writer, row: asyncpg.Record, write_set: WriteSet, tally: Tally) -> None:
    run_id, entry = str(row["graph_exec_id"]), _whole_entry(row)
    partition, offset, index = row["source_partition"], row["source_offset"], row["source_index"]
    run = writer.cache.get(run_id)
    if run is None:
        if entry.type is not EntryType.GRAPH_CREATED:
            return  # copied
        run = new_run(run_id, entry, partition)
        writer.cache.put(run, writer.number)
        write_set.add_begun_run(run, None)  # not in the journal
    if entry.seq <= run.last_seq:
        return  # copied by an attempt that was interrupted
    evolve(run, entry)
    write_set.add_entry(run, entry, partition, offset, index)
    fact = fact_of(run, entry, (partition, offset, index))
    if fact is not None:
        tally.count(fact)


def _whole_entry(row: asyncpg.Record) -> Entry:
    entry = entry_of(row)
    if row["data"] is not None:
        entry.data = Raw(row["data"].encode())
    return entry
