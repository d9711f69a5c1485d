"""Migrations: applied once each, by any process, in each of the ways; their sum is kept as one
file.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib import resources

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.storage import schema as storage_schema
from execstream.storage.connections import quoted
from execstream.storage.schema.migrate import SchemaNewer, migrate, migrations, script
from tests.names import Names

# All objects of a schema, without its name.
_CATALOG = """
select 'relation' as kind, c.relname as name,
       concat_ws(' ', c.relkind, c.relispartition, pg_get_expr(c.relpartbound, c.oid),
                 c.reloptions, case c.relkind when 'v' then pg_get_viewdef(c.oid) end) as what
  from pg_class c where c.relnamespace = $1::regnamespace
union all
select 'column', c.relname || '.' || a.attname,
       concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                 pg_get_expr(d.adbin, d.adrelid))
  from pg_attribute a join pg_class c on c.oid = a.attrelid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where c.relnamespace = $1::regnamespace and a.attnum > 0 and not a.attisdropped
union all
select 'index', c.relname, pg_get_indexdef(c.oid)
  from pg_class c where c.relnamespace = $1::regnamespace and c.relkind in ('i', 'I')
union all
select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
  from pg_constraint where connamespace = $1::regnamespace
union all
select 'function', proname, pg_get_functiondef(oid)
  from pg_proc where pronamespace = $1::regnamespace and prokind <> 'a'
union all
select 'aggregate', proname,
       concat_ws(' ', pg_get_function_arguments(p.oid), proparallel, aggtransfn, aggcombinefn,
                 aggtranstype::regtype, agginitval)
  from pg_proc p join pg_aggregate on aggfnoid = p.oid where pronamespace = $1::regnamespace
union all
select 'trigger', tgname, pg_get_triggerdef(t.oid)
  from pg_trigger t join pg_class c on c.oid = t.tgrelid
 where c.relnamespace = $1::regnamespace and not tgisinternal
"""


LARGE_RUN = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
async def connection(stack: Addresses) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(stack.postgres_dsn)
    yield opened
    await opened.close()


async def catalog(connection: asyncpg.Connection, schema: str) -> set[tuple[str, ...]]:
    await connection.execute(f"set search_path to {quoted(schema)}")
    rows = await connection.fetch(_CATALOG, quoted(schema))
    return {
        tuple(value.replace(f"{quoted(schema)}.", "").replace(f"{schema}.", "") for value in row)
        for row in rows
    }


async def test_the_sum_of_the_migrations_is_schema_sql(
    stack: Addresses, names: Names, connection: asyncpg.Connection
) -> None:
    """A database made by migrations differs in nothing from one made by `schema.sql`."""
    written = (resources.files(storage_schema) / "schema.sql").read_text(encoding="utf-8")
    await migrate(stack.postgres_dsn, names.schema)
    migrated = await catalog(connection, names.schema)
    await connection.execute(f"drop schema {names.schema} cascade; create schema {names.schema}")

    await connection.execute(written)

    assert await catalog(connection, names.schema) ^ migrated == set()
    assert len(migrated) > 100


async def test_the_script_does_the_same(
    stack: Addresses, names: Names, connection: asyncpg.Connection
) -> None:
    """The script applied by hand makes the same schema, and the runner then finds nothing to do."""
    await connection.execute(script(names.schema))
    by_hand = await catalog(connection, names.schema)

    assert await migrate(stack.postgres_dsn, names.schema) == []

    await connection.execute(f"drop schema {names.schema} cascade")
    await migrate(stack.postgres_dsn, names.schema)
    assert await catalog(connection, names.schema) == by_hand


async def test_each_is_applied_once_by_however_many(stack: Addresses, names: Names) -> None:
    """Five processes that start at once share the work; later ones find it done."""
    applied = await asyncio.gather(*[migrate(stack.postgres_dsn, names.schema) for _ in range(5)])

    everything = [f"{one.version:04} {one.name}" for one in migrations()]
    assert sorted(itertools.chain(*applied)) == everything
    assert await migrate(stack.postgres_dsn, names.schema) == []


async def test_versions_are_unique() -> None:
    """No two files have one number, and they are applied in its order."""
    versions = [one.version for one in migrations()]
    assert versions == sorted(set(versions))


async def test_an_older_program_refuses_a_newer_schema(
    stack: Addresses, names: Names, connection: asyncpg.Connection
) -> None:
    """It names the unknown migration, and the remedy."""
    await migrate(stack.postgres_dsn, names.schema)
    await connection.execute(
        f"insert into {names.schema}.migration (version, name) values (9999, 'from_the_future')"
    )

    with pytest.raises(SchemaNewer, match=r"9999.*Install"):
        await migrate(stack.postgres_dsn, names.schema)


async def test_errors_of_runs_are_bounded_from_0021_on(
    stack: Addresses, names: Names, connection: asyncpg.Connection
) -> None:
    """Rows of runs that were erased or trimmed go; of others those beyond 200 become one, and no
    failure is lost.
    """
    await connection.execute(f"create schema {names.schema}; set search_path to {names.schema}")
    for migration in migrations():
        if migration.version < 21:
            await connection.execute(migration.sql)
    for run_id, columns in {
        LARGE_RUN: "false, '{}', null",
        "00000000-0000-4000-8000-000000000002": "true, null, null",
        "00000000-0000-4000-8000-000000000003": "false, '{}', now()",
    }.items():
        await connection.execute(
            f"""insert into graph_execution (
                    id, user_id, graph_id, graph_version, status, dry_run, is_shared, created_at,
                    updated_at, last_seq, source_partition, is_deleted, inputs, trimmed_at)
                values ('{run_id}', 'ada', 'graph', 1, 'FAILED', false, false, now(), now(), 1, 0,
                        {columns})"""
        )
        await connection.execute(
            """insert into run_error
               select date_trunc('hour', $2::timestamptz), 0, $1::uuid, 'block', n::text, 'input',
                      n, gen_random_uuid(), $2::timestamptz + n * interval '1 second'
                 from generate_series(1, 250) n""",
            run_id,
            datetime(2026, 3, 1, 12, tzinfo=UTC),
        )
    [last] = [one for one in migrations() if one.version == 21]

    await connection.execute(last.sql)

    rows = await connection.fetch("select * from run_error order by failures")
    assert {str(row["graph_exec_id"]) for row in rows} == {LARGE_RUN}
    assert [row["failures"] for row in rows] == [*range(1, 201), sum(range(201, 251))]
    assert [rows[-1][name] for name in ("block_id", "fingerprint", "class")] == ["other"] * 3
    assert rows[-1]["last_at"] == datetime(2026, 3, 1, 12, 4, 10, tzinfo=UTC)


async def test_a_schema_may_be_called_anything(
    stack: Addresses, names: Names, connection: asyncpg.Connection
) -> None:
    """Names that SQL would not take as they are."""
    odd = f'{names.schema} "odd"; -- '
    try:
        assert await migrate(stack.postgres_dsn, odd) != []
        assert await connection.fetchval(f"select count(*) from {quoted(odd)}.journal") == 0
    finally:
        await connection.execute(
            f"set client_min_messages = error; drop schema {quoted(odd)} cascade"
        )


async def test_a_day_gets_partitions_once(
    stack: Addresses, names: Names, connection: asyncpg.Connection
) -> None:
    """Any number of workers at once make them once; they have the indexes of their parents."""
    await migrate(stack.postgres_dsn, names.schema)
    async with asyncpg.create_pool(
        stack.postgres_dsn, min_size=1, server_settings={"search_path": names.schema}
    ) as db:
        await asyncio.gather(*[db.execute("select ensure_day('2026-03-01')") for _ in range(5)])

    found = await catalog(connection, names.schema)
    assert {
        (name, what.split(" ", 2)[2])
        for kind, name, what in found
        if kind == "relation" and name.endswith("_20260301")
    } == {
        ("journal_20260301", "FOR VALUES FROM ('2026-03-01') TO ('2026-03-02')"),
        (
            "node_execution_20260301",
            "FOR VALUES FROM ('2026-03-01') TO ('2026-03-02') {fillfactor=70}",
        ),
    }
    indexes = [name for kind, name, _ in found if kind == "index" and "20260301" in name]
    assert len(indexes) == 5
