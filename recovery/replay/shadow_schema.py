"""A schema that is being rebuilt beside the live one: its plan, its progress, its indexes.

Made by the migrations like any other; `replay_plan` distinguishes it from others. Indexes that only
readers need are dropped at first and made again when all rows are there. Connections find the
schema that is rebuilt by their search path, as those of `execstream.storage.lines` do.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import asyncpg

from execstream.recovery.replay.truncated_runs import COPIED
from execstream.storage.connections import NO_TIMEOUT, quoted
from execstream.storage.schema.migrate import migrate
from execstream.storage.schema.tables import CONSUMER_OFFSETS, RUNS
from execstream.streams.errors import Fatal
from execstream.streams.progress import ProgressCallback

APPLY = "apply"  # the consumer that is rebuilt
TOPICS, JOURNAL = "topics", "journal"  # sources


class Span(NamedTuple):
    """The range to be read of a partition: from `begin` up to, not including, `end`; None: up to
    the position of the live schema. Kafka's offsets; `base` is added to them in sources.
    """

    partition: int
    base: int
    begin: int
    end: int | None

    @property
    def first_source(self) -> int:
        """The offset in sources at which the span begins."""
        return self.begin + self.base


class Plan(NamedTuple):
    """`source` is `topics` or `journal`. The state before a span's begin comes from the journal."""

    source: str
    spans: Sequence[Span]

    def is_of(self, source: str, begins: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        """Return whether this is the plan asked for; partitions that are not named: all of them."""
        return source == self.source and all(
            (span.begin, span.end) == (begins.get(span.partition, 0), ends.get(span.partition))
            for span in self.spans
        )

    @property
    def needs_journal(self) -> bool:
        """Return whether a part of it comes from the journal."""
        return self.source == JOURNAL or any(span.first_source for span in self.spans)


class NotThatRebuild(Fatal):
    """A schema exists already, and is not the one asked for."""


_IS_THERE = "select exists (select from pg_namespace where nspname = $1)"
_HAS_ROWS = "select exists (select from {})"
_TABLES = """
select relname from pg_class where relnamespace = to_regnamespace($1) and relkind in ('r', 'p')
"""
_PLAN = "select source, partition, base, from_offset, until_offset from replay_plan order by 2"
_TOPICS_READ = "select distinct topic from consumer_offset where consumer = 'apply'"
_ADD_SPAN = "insert into replay_plan values ($2, $1, $3, $4, $5)"
_ADD_PLACE = """
insert into consumer_offset (consumer, topic, partition, next_offset, epoch, base)
values ('apply', $1, $2, $3, 0, $4)
"""

# Indexes of tables, not of their partitions, which follow them.
_INDEXES = """
select format('%I', c.relname) as name,
       replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') as definition
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
 where c.relnamespace = current_schema()::regnamespace
   and not i.indisunique and not c.relispartition
"""


async def stored_plan(connection: asyncpg.Connection, schema: str, topic: str) -> Plan | None:
    """The plan by which `schema` is being rebuilt from the commands of `topic`; None when there is
    no such schema, or it holds only migrated, empty tables.

    Raises NotThatRebuild when it is not a rebuild of that kind.
    """
    if not await connection.fetchval(_IS_THERE, schema):
        return None
    tables = {row[0] for row in await connection.fetch(_TABLES, quoted(schema))}
    rows = await connection.fetch(_PLAN) if "replay_plan" in tables else []
    if rows:
        if others := {row[0] for row in await connection.fetch(_TOPICS_READ)} - {topic}:
            raise NotThatRebuild(
                f"{schema} is being rebuilt by another installation, from {min(others)} instead of "
                f"{topic}: name another schema, or drop it (`drop schema {quoted(schema)} "
                "cascade`)."
            )
        return Plan(rows[0]["source"], [Span(*row[1:]) for row in rows])
    if "migration" in tables and not await _is_used(connection, tables):
        return None
    raise NotThatRebuild(
        f"There is a schema {schema} already, and it is not being rebuilt: name another one, "
        f"or drop it (`drop schema {quoted(schema)} cascade`)."
    )


async def _is_used(connection: asyncpg.Connection, tables: Collection[str]) -> bool:
    for table in (CONSUMER_OFFSETS, RUNS):
        if table.name in tables and await connection.fetchval(_HAS_ROWS.format(table.name)):
            return True
    return False


async def begin(
    dsn: str,
    connection: asyncpg.Connection,
    schema: str,
    topic: str,
    plan: Plan,
    *,
    has_journal: bool,
) -> None:
    """Make `schema`, empty, and store `plan` in it. Without a journal (`has_journal`) nothing can
    be had from before the begins."""
    await migrate(dsn, schema)
    async with connection.transaction():
        await connection.execute(COPIED)
        for name, definition in await connection.fetch(_INDEXES):
            await connection.execute("insert into replay_index values ($1)", definition)
            await connection.execute(f"drop index {name}")
        for span in plan.spans:
            await connection.execute(_ADD_SPAN, plan.source, *span)
            # Sources begin at 0, whatever the topic's offsets do.
            first = -span.base if has_journal else span.begin
            await connection.execute(_ADD_PLACE, topic, span.partition, first, span.base)


async def make_indexes(connection: asyncpg.Connection, report_progress: ProgressCallback) -> None:
    """Make the indexes that are still missing, and update the planner's statistics."""
    await connection.execute("set maintenance_work_mem = '128MB'")
    missing = await connection.fetch("select definition from replay_index order by 1")
    for done, row in enumerate(missing):
        report_progress("Making indexes", done, len(missing))
        async with connection.transaction():
            await connection.execute(row["definition"], timeout=NO_TIMEOUT)
            await connection.execute("delete from replay_index where definition = $1", row[0])
    report_progress("Making indexes", len(missing), len(missing))
    await connection.execute("analyze", timeout=NO_TIMEOUT)


_PLACES = """
select partition, next_offset from consumer_offset where consumer = 'apply' and topic = $1
"""


async def places(connection: asyncpg.Connection, topic: str) -> dict[int, int]:
    """Up to which offset of `topic` the commands have taken effect, by partition."""
    return dict(await connection.fetch(_PLACES, topic))


# No command has a million entries.
_PUBLISHED = """
update consumer_offset set published_offset = base - 1, published_index = 1000000,
       next_offset = greatest(next_offset, 0)  -- markers of transactions may be the last
 where consumer = 'apply' and topic = $1
"""
# As `offsets rebase` does: these offsets will come again.
_SET_APART = """
update dead_letter d
   set "offset" = d."offset" + c.base,
       topic = d.topic || ' before ' || to_char(now() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')
  from consumer_offset c
 where (c.consumer, c.topic, c.partition) = ('apply', d.topic, d.partition)
   and d.topic = $1 and d."offset" < 0
"""


async def set_apart(connection: asyncpg.Connection, topic: str) -> None:
    """Set apart the dead letters of the topics before the present one, and have none of their
    events published.
    """
    async with connection.transaction():
        await connection.execute(_PUBLISHED, topic)
        await connection.execute(_SET_APART, topic)
