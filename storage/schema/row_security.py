"""Row security: the rows of the tables that one user may see, enforced by Postgres.

The server reads for a token bound to a user in the role VIEWER, and names the user in VIEWED_USER
for the transaction. Everybody else sees all rows; that policy is a constant, which the planner
drops, so workers pay nothing for it. Security is forced, so that an owner is subject to it too:
COPY into such a table is refused, and a schema that is rebuilt gets it at its swap. A member that
inherits the rights of VIEWER is subject to its policy, so no member does.
"""

import asyncpg

from execstream.storage.connections import quoted
from execstream.storage.schema.tables import (
    DEAD_LETTERS,
    GRAPHS,
    JOURNAL,
    KEY_VALUE_JOURNAL,
    QUARANTINE,
    REFUSALS,
    RUN_ERRORS,
    RUNS,
    STEPS,
)
from execstream.streams.errors import Fatal

VIEWER = "execstream_viewer"
VIEWED_USER = "execstream.viewed_user"

# Without a user the comparison is null, and there is no row.
_OWN = f"user_id = current_setting('{VIEWED_USER}', true)"
_OF_OWN_RUN = "exists (select from {runs} run where run.id = graph_exec_id)"
_OF_OWN_GRAPH = (
    "exists (select from {runs} run"
    " where run.graph_id = {graphs}.id and run.graph_version = {graphs}.version)"
)
# Runs are subject to their own policy where those of other tables look for them.
POLICIES = {
    **dict.fromkeys((RUNS, KEY_VALUE_JOURNAL, REFUSALS, QUARANTINE), _OWN),
    **dict.fromkeys((STEPS, JOURNAL, RUN_ERRORS), _OF_OWN_RUN),
    GRAPHS: _OF_OWN_GRAPH,
    DEAD_LETTERS: "false",  # their owner is not known
}

_UNSECURED = """
select table_name from unnest($2::text[]) table_name
 where not exists (select from pg_class
                    where relnamespace = to_regnamespace($1) and relname = table_name
                      and relrowsecurity and relforcerowsecurity)
"""
_SECURE = """
drop policy if exists everything on {table};
drop policy if exists own_rows on {table};
create policy everything on {table} using (true) with check (true);
create policy own_rows on {table} as restrictive for select to {viewer} using ({condition});
alter table {table} enable row level security;
alter table {table} force row level security;
"""
_MAY_VIEW = "select pg_has_role(to_regrole($1), 'set')"


class NotSecured(Fatal):
    """Row security is asked for, and Postgres does not enforce it."""


async def secure(connection: asyncpg.Connection, schema: str) -> None:
    """Have Postgres enforce row security on the tables of `schema` that lack it."""
    missing = await unsecured(connection, schema)
    for table, condition in POLICIES.items():
        if table.name in missing:
            names = {one: f"{quoted(schema)}.{quoted(one)}" for one in (RUNS.name, GRAPHS.name)}
            statement = _SECURE.format(
                table=f"{quoted(schema)}.{quoted(table.name)}",
                viewer=VIEWER,
                condition=condition.format(runs=names[RUNS.name], graphs=names[GRAPHS.name]),
            )
            await connection.execute(statement)


async def unsecured(connection: asyncpg.Connection, schema: str) -> list[str]:
    """The tables of `schema` that lack row security."""
    names = [table.name for table in POLICIES]
    return [row[0] for row in await connection.fetch(_UNSECURED, quoted(schema), names)]


async def require_row_security(connection: asyncpg.Connection, schema: str) -> None:
    """Raise NotSecured unless Postgres enforces it and the user may read as VIEWER."""
    if missing := await unsecured(connection, schema):
        raise NotSecured(
            f"EXECSTREAM_TENANCY is strict, and {', '.join(missing)} of {schema} lack row "
            "security: run `execstream migrate` with that setting as the owner of the schema."
        )
    if not await connection.fetchval(_MAY_VIEW, VIEWER):
        raise NotSecured(
            f"EXECSTREAM_TENANCY is strict, and this user of Postgres may not read as {VIEWER}: "
            "use a member of execstream_server."
        )
