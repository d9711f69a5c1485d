"""Redis and Postgres as docker-compose.yml configures them, with the servers of this machine."""

import asyncio
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import asyncpg
import pytest
import yaml
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from execstream.cli.diagnosis import State
from execstream.cli.diagnosis.cache import acl_command, examine_redis
from execstream.cli.diagnosis.rights import lacking_rights
from execstream.config.settings import Settings
from execstream.devstack.ports import HOST, free_ports
from execstream.devstack.postgres import USER_FOR_ROOT, find_binaries
from execstream.devstack.processes import identity, run
from execstream.devstack.redis import answers_ping, find_server
from execstream.devstack.server import Server
from execstream.storage.connections import READ, connection
from execstream.storage.schema.migrate import migrate, migrations
from execstream.storage.schema.roles import Role

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
USER = USER_FOR_ROOT if os.geteuid() == 0 else None


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a name short enough for a socket, and an owner that may run Postgres."""
    made = Path(mkdtemp(prefix="composed-"))
    if USER is not None:
        shutil.chown(made, USER)
    yield made
    shutil.rmtree(made)


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    server.spawn()
    try:
        await server.wait_ready()
        yield
    finally:
        await server.stop()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[str]:
    """Address of a server that the command of docker-compose.yml runs, with its user."""
    shell, option, script = SERVICES["redis"]["command"]
    [port], password = free_ports(1), secrets.token_urlsafe(24)
    entrypoint = tmp_path / "docker-entrypoint.sh"
    places = f"--bind {HOST} --port {port} --dir '{tmp_path}'"
    entrypoint.write_text(f"#!/bin/sh\nexec '{find_server()}' - {places}\n")
    entrypoint.chmod(entrypoint.stat().st_mode | stat.S_IXUSR)
    variables = [f"PATH={tmp_path}:{os.environ['PATH']}", f"REDISCLI_AUTH={password}"]
    command = ["env", *variables, shell, option, script.replace("$$", "$")]

    async def is_ready() -> bool:
        return await answers_ping(port, f"execstream {password}")

    async with running(Server("Redis", command, (port,), tmp_path / "redis.log", is_ready)):
        yield f"redis://execstream:{password}@{HOST}:{port}/0"


async def test_redis_allows_what_is_needed_and_no_more(redis: str) -> None:
    """Doctor has no complaint; CONFIG, MODULE and access without the password are refused."""
    settings = Settings().at(redis_url=redis)
    found = [one async for one in examine_redis(settings)]
    assert len(found) > 2
    assert {one.state for one in found} == {State.OK}, found
    [rule] = [line for line in SERVICES["redis"]["command"][2].split("\n") if "+hget" in line]
    assert set(rule.split()) > {word for word in acl_command(settings).split() if "+" in word}

    async with Redis.from_url(redis) as client:
        for command in (
            ("config", "get", "dir"),
            ("module", "list"),
            ("acl", "list"),
            ("flushall",),
            ("get", "execution_x"),
        ):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command)  # type: ignore[no-untyped-call]
    async with Redis.from_url(f"redis://{redis.partition('@')[2]}") as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()


async def test_a_user_may_be_listened_to(redis: str) -> None:
    """The pattern is in no rule of the access list letter for letter."""
    async with Redis.from_url(redis) as client, client.pubsub() as listening:
        await listening.psubscribe("execution_event/ada/*/*")
        assert (await listening.get_message(timeout=10))["type"] == "psubscribe"


@pytest.mark.usefixtures("stack")  # which has opened the way to its programs
async def test_owner_is_no_superuser(folder: Path) -> None:
    """The scripts that the image of Postgres runs leave three users that get in from outside: the
    owner, which makes all tables, and neither runs programs nor makes roles; and a worker and a
    server, which have the rights of their roles and are no owner."""
    binaries, password = find_binaries(), secrets.token_urlsafe(24)
    (folder / "password").write_text(password)
    if USER is not None:
        shutil.chown(folder / "password", USER)
    begin = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "--no-sync"]
    begin += ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={folder}/password"]
    assert await run(begin, identity(USER)) is None
    [port] = free_ports(1)
    socket = {"PGHOST": str(folder), "PGPORT": str(port), "PGUSER": "postgres"}
    socket["PATH"] = f"{binaries}:{os.environ['PATH']}"

    async def is_ready() -> bool:
        return await program(["pg_isready", "--quiet"], socket) == 0

    options = [f"port={port}", f"listen_addresses={HOST}", f"unix_socket_directories={folder}"]
    command = [str(binaries / "postgres"), "-D", str(folder / "data")]
    command += [word for option in options for word in ("-c", option)]
    server = Server("PostgreSQL", command, (port,), folder / "log", is_ready, user=USER)
    mounts = [one for one in SERVICES["postgres"]["volumes"] if "initdb" in one]
    scripts = [str(ROOT / mount.partition(":")[0]) for mount in mounts]
    assert [Path(one).name for one in scripts] == ["owner.sh", "roles.sql"]  # as the image has them
    named = {"POSTGRES_USER": "postgres", "POSTGRES_DB": "execstream"}
    assert named.items() < SERVICES["postgres"]["environment"].items()
    async with running(server):
        assert await program(["createdb", "execstream"], socket) == 0
        secret = {f"POSTGRES_{of}PASSWORD": password for of in ("", "WORKER_", "SERVER_")}
        roles = ["psql", "--quiet", "execstream", "--file"]
        for script in (*scripts, *scripts):  # the second time for a volume that has been there
            command = ["sh", script] if script.endswith(".sh") else [*roles, script]
            assert await program(command, socket | named | secret) == 0

        address = f"{password}@{HOST}:{port}/execstream"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://postgres:{address}")
        await migrate(f"postgresql://execstream:{address}", "execstream")
        for role in (Role.WORKER, Role.SERVER):
            async with connection(f"postgresql://{role}:{address}", "execstream", READ) as user:
                assert await lacking_rights(user, role) == []
                assert not await user.fetchval("select pg_has_role('execstream', 'member')")
        async with connection(f"postgresql://execstream:{address}", "execstream", READ) as owner:
            done = await owner.fetchval("select count(*) from execstream.migration")
            assert done == len(migrations())
            for statement in ("copy (select 1) to program 'id'", "create role another"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await owner.execute(statement)


async def program(command: list[str], variables: dict[str, str]) -> int:
    """Exit code of a program that sees these variables and no others."""
    process = await asyncio.create_subprocess_exec(*command, env=variables)
    return await process.wait()
