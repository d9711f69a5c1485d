"""States before an offset in a partition of the commands, from the journal alone.

For a second fold of commands beside the stored rows: `graph_execution` is not read, because its
rows may be wrong.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import asyncpg

from execstream.recovery.stored_judgements import Stored
from execstream.recovery.verify.row_comparison import Differing, compare
from execstream.storage.commit.write_set import Row, WriteSet
from execstream.storage.log.run_history import ROWS_AT_ONCE
from execstream.storage.log.run_states import entry_of
from execstream.storage.schema.tables import (
    DEAD_LETTERS,
    JOURNAL,
    KEY_VALUE_JOURNAL,
    REFUSALS,
    Table,
)
from execstream.streams.fold import evolve, new_run
from execstream.streams.key_values import KeyValues
from execstream.streams.outcomes import Refusal
from execstream.streams.state import Run

_HEADS = """
select x.id, min(j.seq) as first, min(j.source_partition) as partition,
       bool_or(j.type = 'graph.deleted' and j.detail ->> 'hard' = 'true') as is_erased,
       exists (select from graph_execution g where g.id = x.id and g.trimmed_at is not null)
           as is_trimmed
  from unnest($1::uuid[]) as x(id) left join journal j on j.graph_exec_id = x.id
 group by x.id
"""
_ENTRIES = """
select j.graph_exec_id, j.seq, j.at, j.command_id, j.type, j.node_exec_id, j.name, j.was, j.status,
       j.detail - case when j.type = 'graph.updated' then array['stats'] else
           array['execution_data', 'inputs', 'credential_inputs', 'nodes_input_masks'] end as detail
  from journal j
 where j.graph_exec_id = any($1::uuid[]) and j.source_partition = $2 and j.source_offset < $3
 order by j.graph_exec_id, j.seq
"""


class States(NamedTuple):
    """`runs`: their earlier states; `foreign`: the partition of runs that belong to another;
    `erased`: runs whose entries are gone except for the last; `unknown`: runs with too little
    evidence.
    """

    runs: dict[str, Run]
    foreign: dict[str, int]
    erased: set[str]
    unknown: set[str]


async def states_before(
    connection: asyncpg.Connection, run_ids: Collection[str], partition: int, offset: int
) -> States:
    """States of `run_ids` before source `offset` of `partition`; later runs have none."""
    states = States({}, {}, set(), set())
    kept = []
    for row in await connection.fetch(_HEADS, list(run_ids)):
        run_id, first = str(row["id"]), row["first"]
        if row["partition"] not in (None, partition):
            states.foreign[run_id] = row["partition"]
        elif (row["is_trimmed"] and first != 1) or (
            first not in (None, 1) and not row["is_erased"]
        ):
            states.unknown.add(run_id)
        elif row["is_erased"]:
            states.erased.add(run_id)
        elif first is not None:
            kept.append(run_id)
    entries = connection.cursor(_ENTRIES, kept, partition, offset, prefetch=ROWS_AT_ONCE)
    async for record in entries:
        run_id, entry = str(record["graph_exec_id"]), entry_of(record)
        if entry.seq == 1:
            states.runs[run_id] = new_run(run_id, entry, partition)
        evolve(states.runs[run_id], entry)
    return states


_WRITTEN = """
select user_id, key, max(at) as at from kv_journal
 where (user_id, key) in (select * from unnest($1::text[], $2::text[]))
   and source_partition = $3 and source_offset < $4
 group by user_id, key
"""
_APPLIED = """
select user_id, command_id from kv_journal
 where (user_id, command_id) in (select * from unnest($1::text[], $2::uuid[]))
   and source_partition = $3 and source_offset < $4
"""
# Rows beyond the committed offset were inserted manually.
_SCATTERED = """
select distinct k.user_id from kv_journal k
  join consumer_offset c on c.consumer = 'apply' and c.topic = $3
   and c.partition = k.source_partition and k.source_offset < c.next_offset + c.base
 where k.user_id = any($1::text[]) and k.source_partition <> $2
"""


async def key_values_before(
    connection: asyncpg.Connection,
    places: Collection[tuple[str, str]],
    commands: Collection[tuple[str, str]],
    partition: int,
    offset: int,
) -> KeyValues:
    """The known state of (user, key) `places` and (user, command id) `commands` before `offset`."""
    known = KeyValues()
    until = (partition, offset)
    for row in await connection.fetch(_WRITTEN, *_columns(places), *until):
        known.written[row["user_id"], row["key"]] = row["at"]
    for row in await connection.fetch(_APPLIED, *_columns(commands), *until):
        known.applied.add((row["user_id"], str(row["command_id"])))
    return known


def _columns(pairs: Collection[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [first for first, _ in pairs], [second for _, second in pairs]


async def scattered_users(
    connection: asyncpg.Connection, users: Collection[str], topic: str, partition: int
) -> set[str]:
    """Users with key-values on other partitions too, so that their order is unknown."""
    return {row[0] for row in await connection.fetch(_SCATTERED, list(users), partition, topic)}


_FORGOTTEN = """
select x.id from unnest($1::text[]) as x(id)
 where not exists (select from kv_journal k where k.user_id = x.id)
   and not exists (select from kv_data d where d.user_id = x.id)
   and not exists (select from refusal r where r.user_id = x.id)
   and not exists (select from graph_execution g where g.user_id = x.id and not g.is_deleted)
"""
# Of runs that were deleted: by run, and by owner.
_OWNERS = """
select id::text, user_id from graph_execution where is_deleted and id::text = any($1::text[])
union
select user_id, user_id from graph_execution where is_deleted and user_id = any($1::text[])
"""


async def forgotten(connection: asyncpg.Connection, users: Iterable[str]) -> set[str]:
    """Those of `users` without any rows, as after `execstream forget`."""
    return {row[0] for row in await connection.fetch(_FORGOTTEN, list(users))}


async def owners_of_deleted(connection: asyncpg.Connection, names: Iterable[str]) -> dict[str, str]:
    """Owners of deleted runs, by those of `names`, any texts, that are such a run or its owner."""
    return {row[0]: row[1] for row in await connection.fetch(_OWNERS, list(names))}


class OffsetRange(NamedTuple):
    """Sources `begin` ≤ offset < `end` of a partition; `skipped` offsets are not compared. `base`
    is the difference between them and offsets of the topic `topic`.
    """

    topic: str
    partition: int
    begin: int
    end: int
    base: int
    skipped: list[int]

    @classmethod
    def of(cls, stored: Stored, begin: int, end: int) -> "OffsetRange":
        """Kafka's offsets `begin` to `end`, none of them skipped."""
        base = stored.base
        return cls(stored.topic, stored.partition, begin + base, end + base, base, [])


_NOT_THERE_YET = f"""
select source_offset from refusal
 where source_partition = $1 and source_offset >= $2 and source_offset < $3
   and reason = '{Refusal.UNKNOWN_GRAPH_EXECUTION}'
"""


async def refused_as_unknown(connection: asyncpg.Connection, of: OffsetRange) -> set[int]:
    """Sources of commands about runs that did not exist yet."""
    return {
        row[0] for row in await connection.fetch(_NOT_THERE_YET, of.partition, of.begin, of.end)
    }


_OF_SOURCE = """source_partition = $2 and source_offset >= $3 and source_offset < $4
            and not source_offset = any($5::bigint[])"""
_OF_TOPIC = """partition = $2 and "offset" >= $3 and "offset" < $4
            and not "offset" = any($5::bigint[]) and topic = $6"""


async def compare_range(
    connection: asyncpg.Connection, of: OffsetRange, write_set: WriteSet
) -> list[Differing]:
    """Compare the stored rows of a range with the result of folding it again."""
    found: list[Differing] = []
    by_source: list[tuple[Table, list[Row]]] = [
        (JOURNAL, write_set.entries),
        (KEY_VALUE_JOURNAL, write_set.key_values),
        (REFUSALS, write_set.refusals),
    ]
    sources = (of.partition, of.begin, of.end, of.skipped)
    for table, rows in by_source:
        found += await compare(connection, table, rows, _OF_SOURCE, *sources)
    offsets = (of.begin - of.base, of.end - of.base, [one - of.base for one in of.skipped])
    found += await compare(
        connection,
        DEAD_LETTERS,
        write_set.dead_letters,
        _OF_TOPIC,
        of.partition,
        *offsets,
        of.topic,
    )
    return found
