"""Users of Postgres with one role each, for as long as a test runs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from execstream.storage.schema.roles import Role

PASSWORD = "of-a-login"  # noqa: S105 - of the tests only


@asynccontextmanager
async def logins(dsn: str, schema: str) -> AsyncIterator[Mapping[Role, str]]:
    """The addresses of `dsn` for a user of each role; the roles must be there. The owner may end
    their sessions.
    """
    owner = await asyncpg.connect(dsn)
    users = {role: f"{schema}_{role.name.lower()}" for role in Role}
    try:
        for role, user in users.items():
            members = "role current_user" if role in (Role.WORKER, Role.SERVER) else ""
            await owner.execute(
                f"create role {user} login password '{PASSWORD}' in role {role} {members}"
            )
        yield {role: _with_user(dsn, user) for role, user in users.items()}
    finally:
        for user in users.values():
            await owner.execute(f"drop role if exists {user}")
        await owner.close()


def _with_user(dsn: str, user: str) -> str:
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{user}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()
