"""Postgres: it answers, is new enough, has our tables, and permits our statements."""

import time
from collections.abc import AsyncIterator, Sequence

import asyncpg

from execstream.cli.diagnosis.finding import Examined, Finding, sentence
from execstream.cli.diagnosis.rights import lacking_rights
from execstream.config.settings import STRICT, Settings, is_loopback, variable
from execstream.storage.access.http_tokens import has_tokens, load_valid
from execstream.storage.connections import (
    READ_ONLY,
    WRITE,
    SettingsNotApplied,
    open_connection,
    sqlstate,
)
from execstream.storage.log.run_partitions import PARTITIONER, find_foreign
from execstream.storage.reads.unreadable_runs import find_unreadable
from execstream.storage.schema.migrate import SchemaNewer, migrations, pending
from execstream.storage.schema.roles import Role
from execstream.storage.schema.row_security import unsecured
from execstream.storage.schema.tables import OTHER_DAYS

OLDEST = 17  # major version that is tested
PATIENCE = 10.0  # seconds
MOST_FAR = 10_000  # runs in the default partition that are counted
MOST_NAMED = 5  # runs with unreadable rows

_postgres = Examined("postgres")

_SERVER = """
select current_setting('server_version') as version,
       current_setting('server_version_num')::int / 10000 as major,
       current_setting('server_encoding') as encoding,
       pg_is_in_recovery() as is_standby,
       extract(epoch from clock_timestamp())::float8 as clock,
       pg_size_pretty(pg_database_size(current_database())) as size
"""
_RIGHTS = """
select c.relname as name, has_table_privilege(c.oid, 'select') as may_read,
       pg_has_role(c.relowner, 'usage') as is_owned
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1 and c.relkind in ('r', 'p') and (not c.relispartition or c.relname = any ($2))
 order by 1
"""
# A megabyte that no compression makes small. Only an owner may make tables that stay.
_TRIAL = """
create {kind} table doctor_trial as
select string_agg(md5((n * m)::text), '') as text
  from generate_series(1, 32) n, generate_series(1, 1024) m group by n
"""
_WRITE_CURES = {
    READ_ONLY: f"Name the primary in {variable('postgres_dsn')}; with several hosts in it, add "
    "target_session_attrs=read-write. On a primary, set default_transaction_read_only to off for "
    "the user, the database and the server.",
    "53100": "Make room on the disk of Postgres.",
}
_MAY_CREATE = "select has_schema_privilege($1, 'create')"
_IS_SERVER = f"""
select pg_has_role(to_regrole('{Role.SERVER}'), 'usage')
   and not pg_has_role(to_regrole('{Role.WORKER}'), 'usage')
"""


async def examine_postgres(settings: Settings) -> AsyncIterator[Finding]:
    """Ends after the first finding when the database does not let us in."""
    try:
        connection = await open_connection(
            settings.postgres,
            WRITE.server_settings(settings.schema_),
            timeout=PATIENCE,
            command_timeout=PATIENCE,
        )
    except SettingsNotApplied as error:
        yield _postgres.failed(
            "sessions",
            sentence(error),
            f"Name Postgres itself in {variable('postgres_dsn')}: execstream keeps few connections "
            "open, and uses advisory locks and prepared statements.",
        )
        return
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        yield _postgres.failed("answers", sentence(error), _remedy(error))
        return
    except ValueError as error:  # which repeats a part of the address
        yield _postgres.failed("answers", "the address cannot be read", _remedy(error))
        return
    try:
        async for finding in _server(connection):
            yield finding
        async for finding in _schema(connection, settings):
            yield finding
        if settings.tenancy == STRICT:
            yield await _row_security(connection, settings.schema_)
    finally:
        await connection.close()


async def _server(connection: asyncpg.Connection) -> AsyncIterator[Finding]:
    before = time.time()
    server = await connection.fetchrow(_SERVER)
    after = time.time()
    yield _postgres.ok("answers", f"version {server['version']}, {server['size']}")
    if server["major"] < OLDEST:
        yield _postgres.warning(
            "version",
            f"{server['major']} is older than the tested versions, {OLDEST}",
            f"Plan an upgrade to {OLDEST} or newer.",
        )
    if server["encoding"] != "UTF8":
        yield _postgres.failed(
            "encoding",
            f"the database keeps text as {server['encoding']}",
            "Make the database anew with encoding UTF8; commands hold any character.",
        )
    if server["is_standby"]:
        yield _postgres.failed("writing", "it is a standby", _WRITE_CURES[READ_ONLY])
    yield _postgres.clock(server["clock"], before, after)


async def _schema(connection: asyncpg.Connection, settings: Settings) -> AsyncIterator[Finding]:
    schema = settings.schema_
    tables = await connection.fetch(_RIGHTS, schema, OTHER_DAYS)
    if not any(row["name"] == "migration" for row in tables):
        yield _postgres.failed(
            "migrations",
            f"the schema {schema} has none",
            f"Run `execstream migrate`, or mend {variable('schema_')}.",
        )
        return
    may_see = {row["name"]: row["may_read"] for row in tables}
    if may_see["migration"]:
        yield await _migrations(connection)
    lacking, use = await _lacking(connection, tables)
    if lacking:
        yield _postgres.failed(
            "permissions",
            f"this user lacks rights of {use}: {', '.join(lacking)}",
            "Use the role that is meant for this process, or a member of it; `execstream migrate` "
            "gives it these rights once `execstream migrate --roles` has made it.",
        )
    else:
        yield _postgres.ok("permissions", f"those of {use}")
        if not await connection.fetchval("select pg_is_in_recovery()"):  # which is reported already
            yield await _try_to_write(connection, schema)
    if may_see.get("quarantine"):
        yield await _quarantine(connection)
    if may_see.get("graph_execution"):
        yield await _foreign_runs(connection)
        yield await _unreadable_runs(connection)
    if all(may_see.get(name) for name in OTHER_DAYS):
        yield await _far_dates(connection)
    if may_see.get("token"):
        yield await _tokens(connection, settings)


_HELD = """
select partition, "offset", key, detail ->> 'error' as error,
       count(*) over () as failing,
       (select count(*) from quarantine where released_at is null) as records
  from quarantine where released_at is null and reason = 'fault'
 order by set_aside_at limit 1
"""


async def _quarantine(connection: asyncpg.Connection) -> Finding:
    """The oldest of the records that fail, and the way out."""
    row = await connection.fetchrow(_HELD)
    if row is None:
        return _postgres.ok("quarantine", "empty")
    place = f"{row['partition']}/{row['offset']}"
    name = (row["key"] or b"").decode(errors="replace") or place
    return _postgres.warning(
        "quarantine",
        f"{row['records']} records, {row['failing']} of which fail, the oldest at {place}: "
        f"{row['error']}",
        f"Mend the cause and run `execstream quarantine retry {name}`, or give the record up with "
        f"`execstream quarantine skip {name}`.",
    )


async def _foreign_runs(connection: asyncpg.Connection) -> Finding:
    """Check that no runs were created on partitions that their keys do not choose."""
    found = await find_foreign(connection)
    if found is None:
        return _postgres.ok("partitioner", "the newest runs are where their keys belong")
    return _postgres.warning("partitioner", found, PARTITIONER)


async def _tokens(connection: asyncpg.Connection, settings: Settings) -> Finding:
    """Check that a server which asks for tokens knows one."""
    valid = len(await load_valid(connection))
    is_local = is_loopback(settings.http_host) and not await has_tokens(connection)
    if valid or settings.http_token or is_local:
        return _postgres.ok("tokens", f"{valid} of the table are valid")
    return _postgres.warning(
        "tokens",
        "the HTTP server refuses each request, since it asks for a token and none is valid",
        "Make one with `execstream tokens create`.",
    )


# Runs dated back are imported history; runs dated ahead have a wrong clock.
_FAR_DATES = """
select count(*) as runs, count(*) filter (where run_day > now()::date) as ahead
  from (select run_day from journal_other where seq = 1 limit $1) far
"""


async def _far_dates(connection: asyncpg.Connection) -> Finding:
    """Count the runs of days that have no partition of their own."""
    row = await connection.fetchrow(_FAR_DATES, MOST_FAR)
    runs, ahead = row["runs"], row["ahead"]
    if not runs:
        return _postgres.ok("dates", "every run is in the partition of its day")
    number = f"{MOST_FAR:,} or more" if runs == MOST_FAR else f"{runs:,}"
    found = f"runs in the default partition, their days being far from their records': {number}"
    if not ahead:
        return _postgres.ok("dates", found)
    return _postgres.warning(
        "dates",
        f"{found}; {ahead:,} are dated ahead",
        "Set the clocks of the senders: no live figure and no alert has steps that are dated more "
        "than an hour ahead.",
    )


async def _unreadable_runs(connection: asyncpg.Connection) -> Finding:
    """Check that the rows of the newest runs can be read, and name the command that shows the
    error.
    """
    examined = await find_unreadable(connection)
    found = list(examined.unreadable.values())
    if not found:
        return _postgres.ok("rows", f"those of the newest {examined.runs:,} runs can be read")
    named = [f"{one.graph_exec_id} ({one.cell})" for one in found[:MOST_NAMED]]
    if len(found) > MOST_NAMED:
        named.append("others")
    return _postgres.failed(
        "rows",
        f"some of {len(found):,} of the newest {examined.runs:,} runs cannot be read: "
        f"{', '.join(named)}",
        f"Run `execstream verify {found[0].graph_exec_id}`, and `execstream verify --all --mend` "
        "to have the commands topic mend its commands; then `execstream quarantine list` "
        "names the runs whose commands wait for that.",
    )


async def _lacking(
    connection: asyncpg.Connection, tables: Sequence[asyncpg.Record]
) -> tuple[list[str], str]:
    """The rights that the user lacks, and the use that it lacks them for: that of the owner, if it
    owns the tables, of a server, if it has that role, else of a worker.
    """
    if all(table["is_owned"] for table in tables):
        return [], "the owner"
    is_server = await connection.fetchval(_IS_SERVER)
    role = Role.SERVER if is_server else Role.WORKER
    return await lacking_rights(connection, role), f"a {role.name.lower()}"


async def _row_security(connection: asyncpg.Connection, schema: str) -> Finding:
    """Check that Postgres enforces strict tenancy."""
    if missing := await unsecured(connection, schema):
        return _postgres.failed(
            "tenancy",
            f"it is strict, and without row security are: {', '.join(missing)}",
            f"Run `execstream migrate` with {variable('tenancy')}=strict as the owner.",
        )
    return _postgres.ok("tenancy", "row security is enforced")


async def _try_to_write(connection: asyncpg.Connection, schema: str) -> Finding:
    """Write a table and roll back: an error here would be an error in a worker."""
    kind = "" if await connection.fetchval(_MAY_CREATE, schema) else "temporary"
    attempt = connection.transaction()
    await attempt.start()
    try:
        await connection.execute(_TRIAL.format(kind=kind))
    except asyncpg.PostgresError as error:
        cure = _WRITE_CURES.get(sqlstate(error), "See the log of Postgres.")
        return _postgres.failed("writing", sentence(error), cure)
    finally:
        await attempt.rollback()
    return _postgres.ok("writing", "a table could be written")


async def _migrations(connection: asyncpg.Connection) -> Finding:
    try:
        missing = await pending(connection)
    except SchemaNewer as newer:
        return _postgres.failed("migrations", sentence(newer), "Install that version here, too.")
    if missing:
        names = ", ".join(f"{one.version:04} {one.name}" for one in missing)
        return _postgres.failed("migrations", f"missing: {names}", "Run `execstream migrate`.")
    return _postgres.ok("migrations", f"{len(migrations())} applied")


def _remedy(error: BaseException) -> str:
    address = variable("postgres_dsn")
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"Mend user and password in {address}, or let the user in (pg_hba.conf)."
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f"Make that database (createdb), or mend {address}."
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return "Raise max_connections, or run fewer processes."
    return f"Start Postgres, or mend {address}; with TLS, its sslmode and sslrootcert."
