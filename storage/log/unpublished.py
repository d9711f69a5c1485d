"""What was committed but perhaps never published: everything after a place in a partition.

Read when a partition is taken over. Places are (offset, index) of sources; sayings come in the
order in which they were made.
"""

from typing import NamedTuple

import asyncpg
import msgspec
from msgspec import UNSET, Raw

from execstream.storage.log.run_states import entry_of, load_runs
from execstream.streams.events import Event, encode_event, run_event
from execstream.streams.fold import evolve, new_run
from execstream.streams.outcomes import Dead, DeadReason
from execstream.streams.state import Run

SourceOffset = tuple[int, int]

PAGE = 2_000  # commands

# Pages end at the end of a command: a command's entries are read together.
_UNTIL = """
select max(source_offset) as until from (
    select source_offset from (
        (select source_offset from journal
          where source_partition = $1 and source_offset >= $2 and source_offset < $3
          order by source_offset limit $4)
        union all
        (select source_offset from refusal
          where source_partition = $1 and source_offset >= $2 and source_offset < $3
          order by source_offset limit $4)
        union all
        (select source_offset from kv_journal
          where source_partition = $1 and source_offset >= $2 and source_offset < $3
          order by source_offset limit $4)
    ) everything order by source_offset limit $4
) page
"""
_ENTRIES = """
select * from journal
 where source_partition = $1 and source_offset between $2 and $3
 order by source_offset, source_index
"""
_REFUSALS = """
select * from refusal
 where source_partition = $1 and source_offset between $2 and $3
"""
_KEY_VALUES = """
select * from kv_journal
 where source_partition = $1 and source_offset between $2 and $3
"""
_DEAD_LETTERS = """
select * from dead_letter
 where topic = $1 and partition = $2 and "offset" > $3 and "offset" < $4
 order by "offset"
"""


class StoredEvent(NamedTuple):
    place: SourceOffset
    key: bytes
    value: bytes


async def events_after(
    connection: asyncpg.Connection, partition: int, after: SourceOffset, before: int
) -> list[StoredEvent]:
    """The next page of encoded events of `partition` with a source greater than `after` and an
    offset below `before`; empty when there are no more."""
    # One snapshot: commits go on meanwhile, and may erase a run between two queries.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        until = await connection.fetchval(_UNTIL, partition, after[0], before, PAGE)
        if until is None:
            return []
        span = (partition, after[0], until)
        found = await _run_events(connection, span)
        for row in await connection.fetch(_REFUSALS, *span):
            found.append(_stored_event(refusal_event(row)))
        for row in await connection.fetch(_KEY_VALUES, *span):
            found.append(_stored_event(key_value_event(row)))
    page = sorted(one for one in found if one.place > after)
    if not page and until + 1 < before:
        return await events_after(connection, partition, (until + 1, -1), before)
    return page


class DeadLetterRecord(NamedTuple):
    """A dead letter as the record it was, and why it died."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    dead: Dead


async def dead_letters_after(
    connection: asyncpg.Connection, topic: str, partition: int, after: int, before: int
) -> list[DeadLetterRecord]:
    """Dead letters with `after` < offset < `before` (Kafka's offsets), in order."""
    return [
        DeadLetterRecord(
            topic,
            partition,
            row["offset"],
            round(row["received_at"].timestamp() * 1000),
            row["key"],
            row["value"],
            msgspec.json.decode(row["headers"], type=list[tuple[str, bytes | None]]),
            Dead(DeadReason(row["reason"]), msgspec.json.decode(row["detail"])),
        )
        for row in await connection.fetch(_DEAD_LETTERS, topic, partition, after, before)
    ]


async def _run_events(
    connection: asyncpg.Connection, span: tuple[int, int, int]
) -> list[StoredEvent]:
    rows = await connection.fetch(_ENTRIES, *span)
    before: dict[str, int] = {}
    for row in rows:
        before.setdefault(str(row["graph_exec_id"]), row["seq"])
    # Those that begin in this page are made from their first entry.
    begun = {run_id: seq for run_id, seq in before.items() if seq > 1}
    runs = await load_runs(connection, list(begun), begun)
    return [_stored_event(entry_event(runs, row)) for row in rows]


def entry_event(runs: dict[str, Run], row: asyncpg.Record) -> Event:
    """The event of a row of the journal: its run in `runs`, which must stand just before it or is
    begun by it, evolves; then the entry is told as when it happened."""
    run_id, entry = str(row["graph_exec_id"]), entry_of(row)
    if row["data"] is not None:
        entry.data = Raw(row["data"].encode())
    partition = row["source_partition"]
    if run_id not in runs:
        runs[run_id] = new_run(run_id, entry, partition)
    run = runs[run_id]
    if entry.seq > run.last_seq:
        evolve(run, entry)
    return run_event(run, entry, (partition, row["source_offset"], row["source_index"]))


def refusal_event(row: asyncpg.Record) -> Event:
    """The event of a row of `refusal`."""
    run_id = row["graph_exec_id"]
    return Event(
        type="command.refused",
        at=row["at"],
        command_id=str(row["command_id"]),
        source=(row["source_partition"], row["source_offset"], 0),
        user_id=row["user_id"],
        graph_exec_id=UNSET if run_id is None else str(run_id),
        command_type=row["command_type"],
        reason=row["reason"],
        detail=Raw(row["detail"].encode()),
    )


def key_value_event(row: asyncpg.Record) -> Event:
    """The event of a row of `kv_journal`."""
    return Event(
        type="kv.changed",
        at=row["at"],
        command_id=str(row["command_id"]),
        source=(row["source_partition"], row["source_offset"], 0),
        user_id=row["user_id"],
        key=row["key"],
        data=Raw(row["data"].encode()),
        node_exec_id=str(row["node_exec_id"]),
    )


def _stored_event(event: Event) -> StoredEvent:
    """Its key is the run, or the user of what is about no run."""
    key = event.user_id if event.graph_exec_id is UNSET else event.graph_exec_id
    return StoredEvent(event.source[1:], str(key).encode(), encode_event(event))
