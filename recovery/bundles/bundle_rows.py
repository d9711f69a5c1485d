"""The rows that a bundle takes out of one schema, and writes into a fresh one.

Connections must hand JSON over as text, as those of `execstream.storage.lines` do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from uuid import UUID

import asyncpg
from msgspec import UNSET, Raw, UnsetType

from execstream.recovery.bundles.lines import (
    AnyLine,
    BlockLine,
    EntryLine,
    GraphLine,
    RefusalLine,
)
from execstream.storage.commit.write_set import WriteSet, commit
from execstream.storage.log.run_states import entry_cell, entry_of
from execstream.storage.schema.tables import BLOCKS, GRAPHS, REFUSALS
from execstream.storage.unreadable_rows import Cell, UnreadableRun, note, reading
from execstream.streams.fold import evolve, new_run
from execstream.streams.journal import Entry, EntryType
from execstream.streams.state import Run

_RUNS = """
select id::text, trimmed_at is null and not is_deleted as is_whole
  from graph_execution where id = any ($1::uuid[])
"""
_ENTRIES = """
select entry.* from journal entry
  join graph_execution run on run.id = entry.graph_exec_id
   and entry.run_day = (run.created_at at time zone 'UTC')::date
 where run.id = $1 order by entry.seq
"""
_REFUSALS = "select * from refusal where graph_exec_id = $1 order by 1, 2"
_BLOCKS = """
select * from block where id in (
    select block_id from node_execution where graph_exec_id = any ($1::uuid[])
) order by id
"""
_GRAPHS = """
select distinct g.* from graph g
  join graph_execution run on run.graph_id = g.id and run.graph_version = g.version
 where run.id = any ($1::uuid[])
"""


async def known_runs(connection: asyncpg.Connection, run_ids: Sequence[UUID]) -> dict[str, bool]:
    """Those of `run_ids` that exist, and whether their journals must be whole."""
    return dict(await connection.fetch(_RUNS, run_ids))


async def entries_of(connection: asyncpg.Connection, run_id: UUID) -> list[EntryLine]:
    """The journal of a run, in order."""
    return [
        EntryLine(
            graph_exec_id=str(row["graph_exec_id"]),
            seq=row["seq"],
            at=row["at"],
            command_id=str(row["command_id"]),
            type=row["type"],
            source=(row["source_partition"], row["source_offset"], row["source_index"]),
            node_exec_id=None if row["node_exec_id"] is None else str(row["node_exec_id"]),
            name=row["name"],
            data=_raw(row["data"]),
            detail=_raw(row["detail"]),
            was=row["was"],
            status=row["status"],
        )
        for row in await connection.fetch(_ENTRIES, run_id)
    ]


async def refusals_of(connection: asyncpg.Connection, run_id: UUID) -> list[RefusalLine]:
    """The refusals of a run, by partition and offset. Raises UnreadableRun."""
    return [_refusal(row) for row in await connection.fetch(_REFUSALS, run_id)]


def _refusal(row: asyncpg.Record) -> RefusalLine:
    with reading(row["graph_exec_id"], Cell(REFUSALS.name)):
        return RefusalLine(
            source=(row["source_partition"], row["source_offset"]),
            command_id=str(row["command_id"]),
            graph_exec_id=str(row["graph_exec_id"]),
            user_id=row["user_id"],
            command_type=row["command_type"],
            reason=row["reason"],
            detail=Raw(row["detail"].encode()),
            at=row["at"],
        )


async def catalogue_of(
    connection: asyncpg.Connection, run_ids: Sequence[UUID]
) -> list[BlockLine | GraphLine]:
    """The blocks and graphs that these runs are made of."""
    blocks = await connection.fetch(_BLOCKS, run_ids)
    graphs = await connection.fetch(_GRAPHS, run_ids)
    return [*(BlockLine(**row) for row in blocks), *(GraphLine(**row) for row in graphs)]


def _raw(text: str | None) -> Raw | UnsetType:
    return UNSET if text is None else Raw(text.encode())


async def write_runs(
    connection: asyncpg.Connection, topic: str, entries: Iterable[EntryLine]
) -> int:
    """Fold entries, run by run and each in order, into rows; return the number of runs. Unreadable
    ones are left out, and noted.
    """
    write_set, runs = WriteSet(), 0
    for _, group in groupby(entries, key=attrgetter("graph_exec_id")):
        lines = list(group)
        try:
            check(lines)
        except UnreadableRun as error:
            note(error)
            continue
        runs += 1
        for run, entry, line in folded(lines):
            write_set.add_entry(run, entry, *line.source)
    write_set.build_rows()
    await commit(connection, "apply", topic, [], write_set)
    return runs


def check(lines: Iterable[EntryLine]) -> None:
    """Raise UnreadableRun where the journal of a run cannot be folded from its beginning."""
    for _ in folded(lines):
        pass


def folded(lines: Iterable[EntryLine]) -> Iterator[tuple[Run, Entry, EntryLine]]:
    """Fold the journal of a run: after each entry the run as it is then. Raises UnreadableRun."""
    run: Run | None = None
    for line in lines:
        columns = _columns(line)
        with reading(line.graph_exec_id, entry_cell(columns)):
            entry = entry_of(columns)
            entry.data = None if line.data is UNSET else line.data
            if run is None:
                run = _begun(entry, line)
            evolve(run, entry)
        yield run, entry, line


def _begun(entry: Entry, line: EntryLine) -> Run:
    if entry.type is not EntryType.GRAPH_CREATED:
        raise LookupError("the journal does not begin with the creation")
    return new_run(line.graph_exec_id, entry, line.source[0])


def _columns(line: EntryLine) -> Mapping[str, object]:
    """The line as a row of the journal."""
    return {
        "seq": line.seq,
        "type": line.type,
        "at": line.at,
        "command_id": line.command_id,
        "node_exec_id": line.node_exec_id,
        "name": line.name,
        "was": line.was,
        "status": line.status,
        "detail": None if line.detail is UNSET else bytes(line.detail),
    }


async def write_others(connection: asyncpg.Connection, lines: Iterable[AnyLine]) -> None:
    """Write refusals, blocks and graphs."""
    refusals, blocks, graphs = [], [], []
    for line in lines:
        if isinstance(line, RefusalLine):
            about = (line.command_id, line.graph_exec_id, line.user_id, line.command_type)
            what = (line.reason, bytes(line.detail).decode(), line.at)
            refusals.append((*line.source, *about, *what))
        elif isinstance(line, BlockLine):
            blocks.append((line.id, line.name, line.block_type))
        elif isinstance(line, GraphLine):
            graphs.append((line.id, line.version, line.name, line.description))
    for table, rows in ((REFUSALS, refusals), (BLOCKS, blocks), (GRAPHS, graphs)):
        await connection.copy_records_to_table(table.name, records=rows)


async def has_runs(connection: asyncpg.Connection) -> bool:
    """Return whether the schema is in use."""
    return bool(await connection.fetchval("select exists (select from graph_execution)"))
