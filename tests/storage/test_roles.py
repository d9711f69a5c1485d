"""Roles of Postgres: each may do what its process does, and Postgres refuses all else."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date
from itertools import product

import asyncpg
import pytest

from execstream.cli.diagnosis.rights import lacking_rights
from execstream.devstack import Addresses
from execstream.storage.connections import READ, connection, quoted
from execstream.storage.schema.day_partitions import ensure_day
from execstream.storage.schema.migrate import migrate, roles_script
from execstream.storage.schema.roles import Role, grants_sql, rights
from execstream.storage.schema.tables import FIGURE_VIEWS, TABLES
from tests.names import Names
from tests.storage.logins import logins

DAY = date(2026, 3, 1)
WORKER, SERVER, READER, ANALYST, VIEWER = Role

# Nobody but the owner changes objects; nobody but workers changes rows of runs.
_OF_THE_OWNER = (
    "create table own (n int)",
    "create schema own_{schema}",
    "create function own() returns int language sql as 'select 1'",
    "create role own_{schema}",
    "alter table journal add column own int",
    "drop table journal",
    "drop table journal_20260301",
    "drop function ensure_day(date)",
    "alter function ensure_day(date) security invoker",
    "alter schema {schema} rename to own_{schema}",
    "truncate journal",
    "alter table journal detach partition journal_20260301",
    "insert into migration values (9999, 'own')",
    "delete from replay_plan",
    "select from journal_20260301",
    "alter role execstream_worker superuser",
    "grant execstream_worker to current_user",
    "copy (select 1) to program 'id'",
    "select pg_read_file('/etc/passwd')",
)
_OF_WORKERS = (
    "select ensure_day('2026-03-02')",
    "select trim_day('2026-03-01', now())",
    "select * from claim('apply', 'topic', array[0], array[0::bigint])",
    "insert into graph values ('g', 1, 'g')",
    "update graph_execution set user_id = 'eve'",
    "update consumer_offset set epoch = 0",
    "delete from journal",
    "delete from dead_letter",
    "update dead_letter set value = null",
    "insert into quarantine select * from quarantine",
    "select * from journal_other",
)
_OF_THE_SERVER = (
    "update alert set acknowledged_by = 'eve'",
    "update dead_letter set redriven_at = now()",
    "insert into alert_message (alert_id, type, alert) select 1, 'raised', '{{}}'",
)
_VALUES = tuple(
    f"select * from {table}"
    for table in (
        *("graph_execution", "node_execution", "journal", "kv_journal", "kv_data", "refusal"),
        *("dead_letter", "quarantine", "alert", "consumer_offset", "node_input_output"),
    )
)
_FIGURES = (
    *(f"select * from {view}" for view in FIGURE_VIEWS),
    *(f"select * from {table}" for table in ("block_minute", "user_day", "kv_data", "alert")),
)
FORBIDDEN = {
    WORKER: _OF_THE_OWNER,
    SERVER: (*_OF_THE_OWNER, *_OF_WORKERS),
    READER: (*_OF_THE_OWNER, *_OF_WORKERS, *_OF_THE_SERVER),
    ANALYST: (*_OF_THE_OWNER, *_OF_WORKERS, *_OF_THE_SERVER, *_VALUES),
    VIEWER: (*_OF_THE_OWNER, *_OF_WORKERS, *_OF_THE_SERVER, *_FIGURES),
}
_PRIVILEGES = ("select", "insert", "update", "delete", "truncate", "references", "trigger")
_HELD = """
select has_table_privilege($1::regrole::oid, $2::regclass::oid, $3)
    or $3 in ('select', 'insert', 'update')
   and has_any_column_privilege($1::regrole::oid, $2::regclass::oid, $3)
"""


@pytest.fixture
async def addresses(stack: Addresses, names: Names) -> AsyncIterator[Mapping[Role, str]]:
    """A schema with a day, and a user of each role."""
    await migrate(stack.postgres_dsn, names.schema, with_roles=True)
    async with _owner(stack, names) as owner:
        await ensure_day(owner, DAY)
    async with logins(stack.postgres_dsn, names.schema) as users:
        yield users


@asynccontextmanager
async def _owner(stack: Addresses, names: Names) -> AsyncIterator[asyncpg.Connection]:
    async with connection(stack.postgres_dsn, names.schema, READ) as opened:
        yield opened


@pytest.mark.parametrize("role", Role)
async def test_what_is_forbidden_is_refused(
    addresses: Mapping[Role, str], names: Names, role: Role
) -> None:
    """By Postgres, for want of a right, and nothing has changed."""
    async with connection(addresses[role], names.schema, READ) as user:
        done = [one for one in FORBIDDEN[role] if not await _is_refused(user, one, names.schema)]
    assert done == []


async def _is_refused(user: asyncpg.Connection, statement: str, schema: str) -> bool:
    attempt = user.transaction()
    await attempt.start()
    try:
        await user.execute(statement.format(schema=schema))
    except asyncpg.InsufficientPrivilegeError:
        return True
    finally:
        await attempt.rollback()
    return False


async def test_every_table_has_the_rights_of_the_registry(
    addresses: Mapping[Role, str], stack: Addresses, names: Names
) -> None:
    """Each table of the schema and each privilege, for each role; a table that the registry lacks
    can be used by none of them.
    """
    assert addresses
    async with _owner(stack, names) as owner:
        tables = [
            row[0]
            for row in await owner.fetch(
                """select relname from pg_class where relkind in ('r', 'p') and not relispartition
                      and relnamespace = current_schema()::regnamespace"""
            )
        ]
        registered = {table.name: table for table in TABLES}
        for role, name, privilege in product(Role, tables, _PRIVILEGES):
            wanted = privilege in rights(role, registered[name])
            assert await owner.fetchval(_HELD, role, name, privilege) is wanted, (
                *(role, name, privilege),
            )
        for role in set(Role) - {VIEWER, ANALYST}:
            for name in set(tables) - {"token"}:
                assert await owner.fetchval(_HELD, role, name, "select"), (role, name)


async def test_a_worker_makes_and_drops_days(
    addresses: Mapping[Role, str], stack: Addresses, names: Names
) -> None:
    """By functions with the rights of the owner, which trust no path of their caller and go on
    after the schema was renamed.
    """
    other = f"{names.schema}_x"
    of_day = "select count(*) from pg_class where relname = 'journal_20260302'"
    async with _owner(stack, names) as owner:
        await owner.execute(f"alter schema {names.schema} rename to {other}")
        try:
            async with connection(addresses[WORKER], other, READ) as worker:
                # Its own objects come first in its path, and are none of the function's.
                await worker.execute("create temporary table journal_20260302 (n int)")
                await worker.execute(
                    "create temporary table journal (like journal); "
                    "set search_path to pg_temp, public"
                )
                await worker.execute(f"select {other}.ensure_day('2026-03-02')")
                made = await owner.fetchval(f"{of_day} and relnamespace = '{other}'::regnamespace")
                assert await _is_refused(worker, "drop table {schema}.journal_20260302", other)
                await worker.execute(f"select {other}.trim_day('2026-03-02', now())")
                left = await owner.fetchval(f"{of_day} and relnamespace = '{other}'::regnamespace")
        finally:
            await owner.execute(f"alter schema {other} rename to {names.schema}")
    assert (made, left) == (1, 0)


async def test_roles_and_rights_may_be_given_again(
    addresses: Mapping[Role, str], stack: Addresses, names: Names
) -> None:
    """A right that a table has lost or gained by hand is as it was afterwards, and what is lacking
    is named.
    """
    async with _owner(stack, names) as owner:
        await owner.execute(
            f"revoke update on alert from {WORKER}; "
            f"revoke execute on function ensure_day(date) from {WORKER}; "
            f"grant delete on journal to {ANALYST}"
        )
        async with connection(addresses[WORKER], names.schema, READ) as worker:
            assert await lacking_rights(worker, WORKER) == [
                *("update on alert", "execute on ensure_day(date)"),
            ]
            await migrate(stack.postgres_dsn, names.schema, with_roles=True)
            assert await lacking_rights(worker, WORKER) == []
            await owner.execute(f"revoke all on journal from {WORKER}")
            await owner.execute(roles_script(names.schema))  # as printed, for psql
            assert await lacking_rights(worker, WORKER) == []
        assert not await owner.fetchval(_HELD, ANALYST, "journal", "delete")


async def test_rights_are_of_one_schema(
    addresses: Mapping[Role, str], stack: Addresses, names: Names
) -> None:
    """Statements for one schema leave another as it is."""
    other = f"{names.schema}_y"
    async with _owner(stack, names) as owner:
        await migrate(stack.postgres_dsn, other)
        await owner.execute(
            f"set search_path to {quoted(other)}; revoke usage on schema {other} from {READER}"
        )
        try:
            assert f'"{names.schema}"' in grants_sql(names.schema)
            async with connection(addresses[READER], names.schema, READ) as reader:
                await reader.fetch("select * from runs")
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await reader.fetch(f"select * from {other}.runs")
        finally:
            await owner.execute(f"drop schema {other} cascade")
