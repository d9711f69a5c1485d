"""A schema that is being rebuilt beside the live one: its plan, its progress, its indexes.

Made by the migrations like any other; `replay_plan` tells it from others. Indexes that only
readers need are dropped at first and made again when all rows are there. Connections find the
schema that is rebuilt by their search path, as those of `storage.lines` do.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import asyncpg

from storage.migrate import migrate, quoted
from streams.errors import Fatal

APPLY = "apply"  # the consumer whose effects are rebuilt
TOPICS, JOURNAL = "topics", "journal"  # sources


class Span(NamedTuple):
    """What is to be read of a partition: from `begin` up to, not including, `end`; None: as far
    as the live schema is. Kafka's offsets; `base` is added to them in sources."""

    partition: int
    base: int
    begin: int
    end: int | None


class Plan(NamedTuple):
    """`source` is `topics` or `journal`. Before a span's begin comes what the journal has."""

    source: str
    spans: Sequence[Span]

    def is_of(self, source: str, begins: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        """Whether this is what was asked for; partitions that are not named: all of them."""
        return source == self.source and all(
            (span.begin, span.end) == (begins.get(span.partition, 0), ends.get(span.partition))
            for span in self.spans
        )

    @property
    def needs_journal(self) -> bool:
        """Whether a part of it comes from the journal."""
        return self.source == JOURNAL or any(span.begin for span in self.spans)


_LONG = 24 * 3600.0  # seconds that one statement may take


class NotThatRebuild(Fatal):
    """A schema is there already, and is something else than was asked for."""


_IS_THERE = "select exists (select from pg_namespace where nspname = $1)"
_IS_REBUILD = "select to_regclass($1) is not null"
_PLAN = "select source, partition, base, from_offset, until_offset from replay_plan order by 2"
_ADD_SPAN = "insert into replay_plan values ($2, $1, $3, $4, $5)"
_ADD_PLACE = """
insert into consumer_offset (consumer, topic, partition, next_offset, epoch, base)
values ('apply', $1, $2, $3, 0, $4)
"""

# Of tables, not of their partitions, whose indexes follow.
_INDEXES = """
select format('%I', c.relname) as name,
       replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') as definition
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
 where c.relnamespace = current_schema()::regnamespace
   and not i.indisunique and not c.relispartition
"""


async def stored_plan(connection: asyncpg.Connection, schema: str) -> Plan | None:
    """The plan by which `schema` is being rebuilt; None when there is no such schema.

    Raises NotThatRebuild when it is something else.
    """
    if not await connection.fetchval(_IS_THERE, schema):
        return None
    rows = []
    if await connection.fetchval(_IS_REBUILD, f"{quoted(schema)}.replay_plan"):
        rows = await connection.fetch(_PLAN)
    if not rows:
        raise NotThatRebuild(
            f"There is a schema {schema} already, and it is not being rebuilt: name another one, "
            f"or drop it (`drop schema {quoted(schema)} cascade`)."
        )
    return Plan(rows[0]["source"], [Span(*row[1:]) for row in rows])


async def begin(
    dsn: str, connection: asyncpg.Connection, schema: str, topic: str, plan: Plan
) -> None:
    """Make `schema`, empty, and store `plan` in it."""
    await migrate(dsn, schema)
    async with connection.transaction():
        for name, definition in await connection.fetch(_INDEXES):
            await connection.execute("insert into replay_index values ($1)", definition)
            await connection.execute(f"drop index {name}")
        for span in plan.spans:
            await connection.execute(_ADD_SPAN, plan.source, *span)
            # Sources begin at 0, whatever the topic's offsets do.
            await connection.execute(_ADD_PLACE, topic, span.partition, -span.base, span.base)


async def make_indexes(connection: asyncpg.Connection) -> None:
    """Make the indexes that are still missing, and tell the planner what there is now."""
    await connection.execute("set maintenance_work_mem = '128MB'")
    for row in await connection.fetch("select definition from replay_index order by 1"):
        async with connection.transaction():
            await connection.execute(row["definition"], timeout=_LONG)
            await connection.execute("delete from replay_index where definition = $1", row[0])
    await connection.execute("analyze", timeout=_LONG)


_PLACES = """
select partition, next_offset from consumer_offset where consumer = 'apply' and topic = $1
"""


async def places(connection: asyncpg.Connection, topic: str) -> dict[int, int]:
    """Up to which offset of `topic` the commands have taken effect, by partition."""
    return dict(await connection.fetch(_PLACES, topic))
