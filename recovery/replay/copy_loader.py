"""Writing of large batches into a schema that is being rebuilt: new rows by COPY.

One transaction with the offset after it, through the same function as live commits; so a killed
rebuild continues after its last batch.
"""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.commit.totals import commit_tally
from execstream.storage.commit.write_set import Row, WriteSet, commit
from execstream.storage.schema.tables import JOURNAL, RUNS, STEPS
from execstream.streams.journal import EntryType
from execstream.streams.totals.aggregation import Tally

_RUN, _TYPE, _STEP = 0, 5, 6  # columns of `journal`


async def write(
    connection: asyncpg.Connection,
    topic: str,
    offset_commits: Sequence[OffsetCommit],
    write_set: WriteSet,
    tally: Tally,
) -> None:
    """Write a batch of commands and its additions to the totals; nothing when it is there already.

    Raises the errors of `storage.commit.write_set.commit`, and unique_violation for a run that was
    created on another partition.
    """
    new_runs, runs = _parted(write_set.run_rows, _begun(write_set.entries))
    new_steps, steps = _parted(write_set.step_rows, _added(write_set.entries))
    rest = replace(write_set, run_rows=runs, step_rows=steps, entries=[])
    async with connection.transaction():
        if await commit(connection, "apply", topic, offset_commits, rest):
            return
        for table, rows in (
            (RUNS, new_runs),
            (STEPS, new_steps),
            (JOURNAL, write_set.entries),
        ):
            if rows:
                await connection.copy_records_to_table(table.name, records=rows)
        await commit_tally(connection, "tally", topic, [], tally)


def _begun(entries: Sequence[Row]) -> set[Row]:
    return {(e[_RUN],) for e in entries if e[_TYPE] == EntryType.GRAPH_CREATED}


def _added(entries: Sequence[Row]) -> set[Row]:
    return {(e[_STEP], e[_RUN]) for e in entries if e[_TYPE] == EntryType.NODE_ADDED}


def _parted(rows: Sequence[Row], new: set[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows with first columns among `new`, and the others."""
    width = len(next(iter(new), ()))
    chosen: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        chosen[row[:width] not in new].append(row)
    return chosen
