"""Connections to Postgres: one profile of session settings per purpose.

Statements are planned with their arguments at hand where a profile has `force_custom_plan`: only so
can the planner skip partitions, use partial indexes, and distinguish an owner of ten runs from one
of a million.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import asyncpg

from execstream.config.address_syntax import POSTGRES_FORM, checked_address
from execstream.streams import exact_json

GOODBYE = 2.0  # seconds until a connection is dropped that Postgres does not end
NO_TIMEOUT = 24 * 3600.0  # seconds; for statements that read or write whole tables

AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What is raised while Postgres does not answer."""


# What statements and texts of values mean must not depend on a setting of the database, the role
# or the DSN: where hours and days begin, and how times, spans and floats are read and written.
_MEANING = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
}


@dataclass(frozen=True)
class Profile:
    """Session settings of connections with one purpose.

    Attributes:
        application: the name in pg_stat_activity; `{schema}` is filled in.
        timeout: seconds that a statement may take; None: without a limit.
        settings: further session settings.
    """

    application: str
    timeout: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def application_name(self, schema: str) -> str:
        """Name of the sessions in pg_stat_activity, of which Postgres keeps 63 bytes."""
        return self.application.format(schema=schema)[:63]

    def server_settings(self, schema: str) -> dict[str, str]:
        """Session settings for `schema`."""
        return {
            "application_name": self.application_name(schema),
            "search_path": quoted(schema),
            "jit": "off",
            **_MEANING,
            **self.settings,
        }


_CUSTOM_PLANS = {"plan_cache_mode": "force_custom_plan"}

READ = Profile("execstream", 60.0, _CUSTOM_PLANS)
FEED = Profile("execstream-feed", 30.0, _CUSTOM_PLANS)
WRITE = Profile("execstream in {schema}", 30.0)
VERIFY = Profile("execstream-verify", None, _CUSTOM_PLANS)
# The live schema comes first: indexes and comparisons take no more than one core.
REPLAY = Profile(
    "execstream-replay",
    None,
    {"max_parallel_workers_per_gather": "0", "max_parallel_maintenance_workers": "0"},
)


def sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of a Postgres error, and an empty string for other errors."""
    return getattr(error, "sqlstate", None) or ""


def quoted(identifier: str) -> str:
    """Quote `identifier` for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


async def connect(dsn: str, schema: str = "execstream") -> asyncpg.Pool:
    """Open a pool for reads of `schema`; close it with `close()`.

    JSON values come back as Python objects with exact numbers (`streams.exact_json`).
    """
    return await open_pool(dsn, schema, READ, size=10, init=_read_json_as_objects)


async def open_pool(
    dsn: str, schema: str, profile: Profile, *, size: int, **options: object
) -> asyncpg.Pool:
    """Open a pool of up to `size` connections; without `init`, JSON values come back as text."""
    return await asyncpg.create_pool(
        checked_address(dsn, POSTGRES_FORM),
        min_size=1,
        max_size=size,
        command_timeout=profile.timeout,
        server_settings=profile.server_settings(schema),
        **options,
    )


@asynccontextmanager
async def connection(dsn: str, schema: str, profile: Profile) -> AsyncIterator[asyncpg.Connection]:
    """Open one connection and close it at the end of the context."""
    opened = await asyncpg.connect(
        checked_address(dsn, POSTGRES_FORM),
        command_timeout=profile.timeout,
        server_settings=profile.server_settings(schema),
    )
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def snapshot(dsn: str, schema: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection that sees every table as of its first query."""
    async with (
        connection(dsn, schema, VERIFY) as opened,
        opened.transaction(isolation="repeatable_read"),
    ):
        yield opened


class Session:
    """A connection of one user at a time, opened when first needed and reopened after a failure.

    A pool would reset a connection at every release, a second round trip per batch.
    """

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = checked_address(dsn, POSTGRES_FORM)
        self._schema = schema
        self._connection: asyncpg.Connection | None = None

    async def get(self) -> asyncpg.Connection:
        """Return the open connection."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                command_timeout=WRITE.timeout,
                server_settings=WRITE.server_settings(self._schema),
            )
        return self._connection

    def terminate(self) -> None:
        """Drop the connection, whose state is unknown."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection in good order, or drop it when Postgres does not answer in time."""
        if self._connection is not None:
            with suppress(*AWAY):
                await self._connection.close(timeout=GOODBYE)
            self._connection = None


async def _read_json_as_objects(opened: asyncpg.Connection) -> None:
    await opened.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode, decoder=exact_json.decode, format="text"
    )


def _encode(value: object) -> str:
    return exact_json.encode(value).decode()
