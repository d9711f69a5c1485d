"""Tokens of the HTTP server: the table has the hash of each, its scopes, owner and times."""

import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

import asyncpg
from pydantic import BaseModel

from execstream.streams.commands import NAME
from execstream.streams.errors import Fatal

SECRET_BYTES = 32
PREFIX = "exs_"  # scanners for secrets find tokens by it


class TokenScope(StrEnum):
    """A right of a token. What a token of a user reads and writes is that user's."""

    READ = "read"  # GET
    WRITE = "write"  # commands
    OPERATE = "operate"  # alerts, redrive, quarantine
    ADMIN = "admin"  # tokens, audit


ALL_SCOPES = frozenset(TokenScope)
SCOPES_OF_USERS = frozenset((TokenScope.READ, TokenScope.WRITE))


class TokenRefused(Fatal):
    """A token cannot be made, or revoked, as asked."""


@dataclass(frozen=True, slots=True)
class HttpToken:
    """A token as a server knows it. `id`: None for tokens of the settings."""

    name: str
    scopes: frozenset[TokenScope] = ALL_SCOPES
    user_id: str | None = None
    id: int | None = None


class StoredToken(BaseModel):
    """A token without its secret, which is stored nowhere."""

    id: int
    name: str
    scopes: list[TokenScope]
    user_id: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


_COLUMNS = """id, name, scopes, user_id, created_by, created_at, expires_at, revoked_at,
    last_used_at"""


def hash_secret(secret: str) -> str:
    """Return the stored form of a secret: hexadecimal SHA-256."""
    # A guess may hold anything, half a surrogate pair too.
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_CREATE = f"""
insert into token (hash, name, scopes, user_id, created_by, expires_at)
values ($1, $2, $3, $4, $5, now() + $6::interval)
returning {_COLUMNS}
"""


async def create_token(
    db: asyncpg.Pool,
    name: str,
    scopes: Collection[TokenScope],
    created_by: str,
    *,
    user_id: str | None = None,
    lifetime: timedelta | None = None,
) -> tuple[str, StoredToken]:
    """Make a token; return its secret, which cannot be read again, and the token.

    Raises TokenRefused for a name that is taken or no name, and for scopes that a token of a user
    cannot have.
    """
    for one in (name, user_id):
        if one is not None and not re.match(NAME, one):
            raise TokenRefused(f"{one!r} must be 1 to 128 of A-Z a-z 0-9 _ . : @ | -.")
    if user_id is not None and (wrong := set(scopes) - SCOPES_OF_USERS):
        raise TokenRefused(
            f"A token of a user has the scopes read and write at most, not {', '.join(wrong)}."
        )
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    try:
        row = await db.fetchrow(
            *(_CREATE, hash_secret(secret), name, sorted(scopes), user_id),
            *(created_by[:128], lifetime),
        )
    except asyncpg.UniqueViolationError as error:
        raise TokenRefused(
            f"There is a token {name} already: revoke it first, or choose another name."
        ) from error
    return secret, StoredToken(**row)


async def list_tokens(db: asyncpg.Pool) -> list[StoredToken]:
    """List all tokens, revoked and expired ones too, the newest first."""
    rows = await db.fetch(f"select {_COLUMNS} from token order by id desc")
    return [StoredToken(**row) for row in rows]


_REVOKE = f"""
update token set revoked_at = now() where revoked_at is null and name = $1 returning {_COLUMNS}
"""


async def revoke_token(db: asyncpg.Pool, name: str) -> StoredToken | None:
    """Revoke the token of that name; None when there is none that is not revoked."""
    row = await db.fetchrow(_REVOKE, name)
    return None if row is None else StoredToken(**row)


# ---- for servers -----------------------------------------------------------------------------

_VALID = """
select hash, name, scopes, user_id, id from token
 where revoked_at is null and (expires_at is null or expires_at > now())
"""


async def load_valid(db: asyncpg.Pool | asyncpg.Connection) -> dict[str, HttpToken]:
    """The tokens that are neither revoked nor expired, by hash."""
    return {
        row["hash"]: HttpToken(
            row["name"], frozenset(map(TokenScope, row["scopes"])), row["user_id"], row["id"]
        )
        for row in await db.fetch(_VALID)
    }


async def has_tokens(db: asyncpg.Pool | asyncpg.Connection) -> bool:
    """Return whether a token was ever made, revoked and expired ones too."""
    return bool(await db.fetchval("select exists (select from token)"))


# Several servers write it, together no more often than that.
_USED = """
update token set last_used_at = now()
 where id = any ($1) and (last_used_at is null or last_used_at < now() - interval '1 minute')
"""


async def mark_used(db: asyncpg.Pool, ids: Sequence[int]) -> None:
    """Store that these tokens were used now, at most once a minute each."""
    await db.execute(_USED, ids)
