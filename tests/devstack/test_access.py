"""Access to a stack, on a machine with other users: only the owner of its directory has it."""

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError

from execstream.devstack import Stack, start
from execstream.devstack.password import ensure_password
from execstream.devstack.postgres import Cluster, find_binaries
from execstream.devstack.processes import family_of

# In a list of Kafka's settings a comma separates; in redis.conf a space does; Java needs to be
# given an encoding; and the path of a Unix socket has room for some 100 bytes.
ODD_NAME = f"a path, with späces 'and' \"東京\" \\ {'x' * 120}"


@pytest.fixture(scope="module")
async def odd_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack below a directory with a name that needs quoting."""
    stack = await start(tmp_path_factory.mktemp("odd") / ODD_NAME / "state", report=lambda _: None)
    yield stack
    await stack.stop()


def read_mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def without_password(url: str) -> str:
    """Return the address with its user, but without the password."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", "@")


async def test_files_with_the_password_are_private(odd_stack: Stack) -> None:
    """No other user can read one, whatever the umask was."""
    password = ensure_password(odd_stack.state)
    assert len(password) >= 32

    holding = [
        path
        for path in odd_stack.state.rglob("*")
        if path.is_file() and password.encode() in path.read_bytes()
    ]

    names = {path.name for path in holding}
    assert {"password", "stack.json", "redis.conf"} <= names
    assert {read_mode(path) for path in holding} == {0o600}


async def test_no_command_line_has_the_password(odd_stack: Stack) -> None:
    """The list of processes, which every user can read, does not have it."""
    password = ensure_password(odd_stack.state)
    servers = [process for pid in odd_stack.pids.values() for process in family_of(pid)]

    assert len(servers) > 3
    assert not [one for one in servers if password in " ".join(one.cmdline())]


async def test_password_differs_by_directory(odd_stack: Stack, tmp_path: Path) -> None:
    assert ensure_password(tmp_path) == ensure_password(tmp_path)
    assert ensure_password(tmp_path) != ensure_password(odd_stack.state)


async def test_redis_wants_the_password(odd_stack: Stack) -> None:
    """Without it no command is taken; with it, no command that writes a file or loads one."""
    async with Redis.from_url(without_password(odd_stack.redis_url)) as redis:
        with pytest.raises(AuthenticationError):
            await redis.ping()
    async with Redis.from_url(odd_stack.redis_url) as redis:
        assert await redis.ping()
        for command in (
            ("config", "set", "dir", "/tmp"),  # noqa: S108 - it is refused
            ("config", "set", "dbfilename", "x"),
            ("module", "load", "/x"),
            ("debug", "sleep", "0"),
        ):
            with pytest.raises(ResponseError, match=r"not allowed|protected"):
                await redis.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_postgres_wants_the_password(odd_stack: Stack) -> None:
    """Neither the role without the right password nor the superuser gets in."""
    dsn = odd_stack.postgres_dsn
    password = str(urlsplit(dsn).password)
    for wrong in (
        without_password(dsn),
        dsn.replace(password, "wrong"),
        dsn.replace("execstream:", "postgres:", 1),
    ):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(wrong)


async def test_role_runs_no_program(odd_stack: Stack) -> None:
    """The role of the program is no superuser, and is all there is."""
    connection = await asyncpg.connect(odd_stack.postgres_dsn)
    try:
        assert not await connection.fetchval(
            "select rolsuper or rolreplication or rolbypassrls from pg_roles "
            "where rolname = current_user"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("copy (select 1) to program 'id'")
    finally:
        await connection.close()


async def test_tables_of_the_superuser_are_taken_over(tmp_path: Path) -> None:
    """A directory of a release that had no role but the superuser goes on, with a password."""
    stack = await start(tmp_path)
    await stack.stop()
    cluster = Cluster(
        find_binaries(), tmp_path / "postgres", "nobody" if os.geteuid() == 0 else None
    )
    for statement in (
        "create schema old create table t (id bigserial primary key) partition by range (id)",
        "create table old.t1 partition of old.t for values from (1) to (9)",
        "create table old.u (id int generated always as identity)",
        "create view old.v as select * from old.t",
        "create sequence old.s",
        "create function old.f() returns int language sql as 'select 1'",
    ):
        assert await cluster.execute("execstream", statement) is None
    (tmp_path / "postgres.role").unlink()

    again = await start(tmp_path)

    connection = await asyncpg.connect(again.postgres_dsn)
    await connection.execute("insert into old.t default values; select nextval('old.s'), old.f()")
    await connection.execute("alter table old.t1 add check (id > 0); drop schema old cascade")
    await connection.close()
    await again.stop()
