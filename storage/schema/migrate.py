"""Bringing the schema to the newest version: numbered SQL files, each applied once.

Each file runs in a transaction of its own, under an advisory lock, so that several processes may
start at once. A file that was applied is never changed; to mend it, add another.

Workers of the release before go on during a migration that expands the schema. A file that begins
with `-- contract` is for later, when none of them runs any more.
"""

import re
from importlib import resources
from typing import NamedTuple

import asyncpg

from execstream.storage.connections import MIGRATE, connection, quoted
from execstream.storage.schema.roles import grant_rights, grants_sql, make_roles, roles_sql
from execstream.storage.schema.row_security import secure
from execstream.streams.errors import Fatal

_LOCK = 0x65786563  # "exec": a number that no other program on the server uses
_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")

_CONTRACT = "-- contract"

_HISTORY = """
create table if not exists migration (
    version integer primary key,
    name text not null,
    applied_at timestamptz not null default now()
)
"""


class Migration(NamedTuple):
    version: int
    name: str
    sql: str

    @property
    def contracts(self) -> bool:
        """Return whether workers of the release before cannot commit any more after it."""
        return self.sql.startswith(_CONTRACT)

    def __str__(self) -> str:
        return f"{self.version:04} {self.name}"


class SchemaNewer(Fatal):
    """The database was migrated by a newer execstream than this one."""


def migrations() -> list[Migration]:
    """All migrations there are, oldest first."""
    return sorted(
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in (resources.files(__package__) / "migrations").iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    )


async def migrate(
    dsn: str,
    schema: str = "execstream",
    *,
    with_roles: bool = False,
    with_row_security: bool = False,
    expands_only: bool = False,
) -> list[str]:
    """Apply missing migrations; return the names of those applied, oldest first.

    Roles of the server get their rights; `with_roles` makes them first. `with_row_security` has
    Postgres enforce it from then on, which takes these roles. `expands_only` leaves those out that
    workers of the release before do not survive.
    """
    async with connection(dsn, schema, MIGRATE) as opened:
        await opened.execute("select pg_advisory_lock($1)", _LOCK)  # released at the end
        await opened.execute(f"create schema if not exists {quoted(schema)}")
        await opened.execute(_HISTORY)
        applied = []
        missing = await pending(opened)
        wanted = [one for one in missing if not (expands_only and one.contracts)]
        for migration in wanted:
            async with opened.transaction():
                await opened.execute(migration.sql)
                await opened.execute(
                    "insert into migration (version, name) values ($1, $2)", *migration[:2]
                )
            applied.append(str(migration))
        if applied and wanted == missing:
            await opened.execute(comments_sql())
        if with_roles:
            await make_roles(opened)
        await grant_rights(opened, schema)
        if with_row_security:
            async with opened.transaction():
                await secure(opened, schema)
        return applied


def comments_sql() -> str:
    """The statements that comment on everything in the newest schema."""
    return (resources.files(__package__) / "comments.sql").read_text(encoding="utf-8")


async def pending(connection: asyncpg.Connection) -> list[Migration]:
    """Return the missing migrations of the schema that the connection finds first; raises
    SchemaNewer when it is ahead of this program.
    """
    done = {row["version"] for row in await connection.fetch("select version from migration")}
    known = migrations()
    if newer := done - {migration.version for migration in known}:
        raise SchemaNewer(
            f"The schema has migration {max(newer)}, which this version of execstream does not "
            "know. Install the version that made it."
        )
    return [migration for migration in known if migration.version not in done]


def script(schema: str = "execstream") -> str:
    """All migrations as one SQL script for manual application."""
    parts = [
        f"create schema if not exists {quoted(schema)};",
        f"set search_path to {quoted(schema)};",
        f"{_HISTORY.strip()};",
    ]
    for version, name, sql in migrations():
        record = f"insert into migration (version, name) values ({version}, '{name}');"
        parts.append(f"begin;\n{sql.strip()}\n{record}\ncommit;")
    parts.append(comments_sql().strip())
    return "\n\n".join(parts) + "\n"


def roles_script(schema: str = "execstream") -> str:
    """The roles and their rights as one SQL script, for a schema that is migrated."""
    parts = [f"set search_path to {quoted(schema)};", roles_sql().strip(), grants_sql(schema)]
    return "\n\n".join(parts)
