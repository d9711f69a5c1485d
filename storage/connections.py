"""Connections to Postgres: one profile of session settings per purpose.

Session settings are startup parameters. A pooler that gives each transaction another server cannot
keep them, nor advisory locks and prepared statements, so connections through one are refused.

Statements are planned with their arguments at hand where a profile has `force_custom_plan`: only so
can the planner skip partitions, use partial indexes, and distinguish an owner of ten runs from one
of a million.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from execstream.config.address_syntax import POSTGRES_FORM, checked_address
from execstream.config.settings import variable
from execstream.storage.whole_numbers import write_whole_numbers
from execstream.streams import exact_json
from execstream.streams.errors import Fatal, Transient

GOODBYE = 2.0  # seconds until a connection is dropped that Postgres does not end
NO_TIMEOUT = 24 * 3600.0  # seconds; for statements that read or write whole tables

AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What is raised while Postgres does not answer."""


# The meaning of statements and of values as text must not depend on a setting of the database, the
# role or the DSN: where hours and days begin, and how times, spans and floats are read and written.
_MEANING = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
}


READ_ONLY = "25006"
"""SQLSTATE of a primary that became a standby, until the address leads to the new one."""

IS_READ_ONLY = "select current_setting('transaction_read_only')::bool"


class ReadOnly(Transient):
    """Postgres answers and takes no writes."""

    def __init__(self) -> None:
        super().__init__("Postgres is read-only: a standby, or default_transaction_read_only is on")


_NOT_APPLIED = "XF004"
_CHECK = f"""
declare lost text;
begin
    select string_agg(name, ', ') into lost from (values {{pairs}}) as wanted (name, value)
     where current_setting(name) is distinct from value;
    if lost is not null then
        raise exception 'ignored: %', lost using errcode = '{_NOT_APPLIED}';
    end if;
end
"""


class SettingsNotApplied(Fatal):
    """A pooler between this process and Postgres does not keep session settings."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"A pooler such as PgBouncer answers, which does not keep session settings ({found}): "
            f"name Postgres itself in {variable('postgres_dsn')}."
        )


@dataclass(frozen=True)
class Profile:
    """Session settings of connections with one purpose.

    Attributes:
        application: the name in pg_stat_activity; `{schema}` is filled in.
        timeout: seconds that a statement may take; None: without a limit.
        settings: further session settings.
        has_whole_numbers: whether all `numeric` values that it writes and reads are integers.
    """

    application: str
    timeout: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    has_whole_numbers: bool = False

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
TALLY = Profile("execstream in {schema}", 30.0, has_whole_numbers=True)
MIGRATE = Profile("execstream-migrate")
# Postgres ends a statement before we stop waiting: one that keeps running would keep its locks.
APPLY = Profile("execstream in {schema}", 30.0, {"statement_timeout": "29s"})
VERIFY = Profile("execstream-verify", None, _CUSTOM_PLANS)
IMPORT = Profile("execstream-import", None, _CUSTOM_PLANS)
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
        connect=open_connection,
        command_timeout=profile.timeout,
        server_settings=profile.server_settings(schema),
        **options,
    )


async def open_connection(
    dsn: str, server_settings: Mapping[str, str], **options: Any
) -> asyncpg.Connection:
    """Open a connection with session settings; `options` are those of `asyncpg.connect`.

    Raises:
        SettingsNotApplied: a pooler refuses or ignores them.
    """
    try:
        opened = await asyncpg.connect(dsn, server_settings=dict(server_settings), **options)
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" not in str(error):
            raise
        raise SettingsNotApplied(str(error)) from error
    try:
        await opened.execute(_check_of(server_settings))
    except BaseException as error:
        opened.terminate()
        if sqlstate(error) == _NOT_APPLIED:
            raise SettingsNotApplied(str(error)) from error
        raise
    return opened


def _check_of(server_settings: Mapping[str, str]) -> str:
    """A statement that fails with _NOT_APPLIED when a setting has another value.

    It is one message of the simple protocol, which poolers pass to one server as a whole.
    """
    pairs = ", ".join(
        f"({_literal(name)}, {_literal(value)})"
        for name, value in server_settings.items()
        if name != "application_name"  # poolers add to it
    )
    return f"do {_literal(_CHECK.format(pairs=pairs))}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@asynccontextmanager
async def connection(dsn: str, schema: str, profile: Profile) -> AsyncIterator[asyncpg.Connection]:
    """Open one connection and close it at the end of the context."""
    opened = await open_connection(
        checked_address(dsn, POSTGRES_FORM),
        profile.server_settings(schema),
        command_timeout=profile.timeout,
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

    def __init__(self, dsn: str, schema: str, profile: Profile = WRITE) -> None:
        self._profile = profile
        self._dsn = checked_address(dsn, POSTGRES_FORM)
        self._schema = schema
        self._connection: asyncpg.Connection | None = None

    async def get(self) -> asyncpg.Connection:
        """Return the open connection."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await open_connection(
                self._dsn,
                self._profile.server_settings(self._schema),
                command_timeout=self._profile.timeout,
            )
            if self._profile.has_whole_numbers:
                await write_whole_numbers(self._connection)
        return self._connection

    def terminate(self) -> None:
        """Drop the connection, because its state is unknown."""
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
