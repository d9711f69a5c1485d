"""Roles of Postgres, and their rights in the schema, which follow from the registry of tables.

The owner of the schema, the migrator, has every right: it runs migrations, replays and swaps. All
others have these grants and no more. Partitions have no grants: they are reached through
their parent, except the default ones, where workers look for runs that are dated far.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from importlib import resources

import asyncpg

from execstream.storage.connections import quoted
from execstream.storage.schema import row_security
from execstream.storage.schema.row_security import POLICIES
from execstream.storage.schema.tables import (
    ALERTS,
    ATTEMPTS,
    AUDIT,
    BLOCKS,
    CONSUMER_OFFSETS,
    DEAD_LETTERS,
    FIGURE_VIEWS,
    GRAPHS,
    MESSAGES,
    OTHER_DAYS,
    TABLES,
    TOKENS,
    VALUE_VIEWS,
    Origin,
    Table,
)


class Role(StrEnum):
    """A role by its use.

    WORKER also suffices for retention, redrive, quarantine, forget and verify. READER reads all
    that is public, values of runs among it; ANALYST the views and the figures, no values.
    VIEWER is one user, in the place of which the server reads for tokens bound to that user.
    """

    WORKER = "execstream_worker"
    SERVER = "execstream_server"
    READER = "execstream_reader"
    ANALYST = "execstream_analyst"
    VIEWER = row_security.VIEWER


_READ = "select"
_WRITE = "select, insert, update, delete"
# Rows that the server writes beside its commands: an alert is acknowledged or silenced, a dead
# letter put back, a token used or revoked, and each of these acts recorded.
_SERVER_WRITES = {
    ALERTS: "select, update",
    MESSAGES: "select, insert, update",
    DEAD_LETTERS: "select, update (redriven_at)",
    AUDIT: "select, insert",
}
# The owner makes them. Those of a person go when the person is forgotten.
_OF_TOKENS = {
    Role.WORKER: "select (user_id), delete",
    Role.SERVER: "select, update (last_used_at, revoked_at)",
}
# Of tables without a user in their rows, an analyst reads figures and names.
_ANALYSED = (Origin.TOTAL,)
_NAMES = (BLOCKS, GRAPHS)
# Tables that user-bound tokens are answered from; those without a policy have no rows of users.
VIEWED = (*POLICIES, BLOCKS, CONSUMER_OFFSETS)
# Workers run these with the rights of the owner.
ROUTINES = ("ensure_day(date)", "trim_day(date, timestamptz)")


def rights(role: Role, table: Table) -> str:
    """The privileges of a role on a table, as `grant` takes them; empty for none."""
    if table is TOKENS:
        return _OF_TOKENS.get(role, "")
    match role:
        case Role.WORKER:
            return _READ if table.origin is Origin.SCHEMA and table is not ATTEMPTS else _WRITE
        case Role.SERVER:
            return _SERVER_WRITES.get(table, _READ)
        case Role.READER:
            return _READ
        case Role.ANALYST:
            return _READ if table.origin in _ANALYSED or table in _NAMES else ""
        case Role.VIEWER:
            return _READ if table in VIEWED else ""


def roles_sql() -> str:
    """The statements that make the roles."""
    return (resources.files(__package__) / "roles.sql").read_text(encoding="utf-8")


def grants_sql(schema: str) -> str:
    """The statements that give each role its rights in `schema`, which is first in the path, and
    take others away.
    """
    return "".join(f"{statement};\n" for role in Role for statement in _grants(role, schema))


def _grants(role: Role, schema: str) -> Iterator[str]:
    everything = [table.name for table in TABLES]
    everything += [*FIGURE_VIEWS, *VALUE_VIEWS, *OTHER_DAYS]
    yield f"revoke all on {', '.join(map(quoted, everything))} from {role}"
    yield f"grant usage on schema {quoted(schema)} to {role}"
    for relation, privileges in granted(role):
        yield f"grant {privileges} on {quoted(relation)} to {role}"
    if role is Role.WORKER:
        yield f"grant execute on function {', '.join(ROUTINES)} to {role}"


def granted(role: Role) -> Iterator[tuple[str, str]]:
    """The tables and views that a role has rights on, and these."""
    for table in TABLES:
        if privileges := rights(role, table):
            yield table.name, privileges
    for view in _views(role):
        yield view, _READ


def _views(role: Role) -> Iterable[str]:
    match role:
        case Role.WORKER:
            return (*FIGURE_VIEWS, *VALUE_VIEWS, *OTHER_DAYS)
        case Role.SERVER | Role.READER:
            return (*FIGURE_VIEWS, *VALUE_VIEWS)
        case Role.ANALYST:
            return FIGURE_VIEWS
        case Role.VIEWER:
            return ()


_ARE_THERE = "select bool_and(to_regrole(role) is not null) from unnest($1::text[]) role"


async def make_roles(connection: asyncpg.Connection) -> None:
    """Make the roles that are missing."""
    await connection.execute(roles_sql())


async def grant_rights(connection: asyncpg.Connection, schema: str) -> None:
    """Give the roles their rights in `schema`, if the server has all of them."""
    if await connection.fetchval(_ARE_THERE, list(Role)):
        async with connection.transaction():
            await connection.execute(grants_sql(schema))
