"""The oldest Postgres that works, and Debian's Redis: tests of every part run on them, too.
docs/upgrading.md names the versions.
"""

import asyncio
import json
import os
import platform
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from execstream.devstack import Addresses
from execstream.devstack.ports import HOST, free_ports
from tests.conftest import RUNNING_STACK
from tests.fetching import program
from tests.worker import HOME, until

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(600)]

NAMED = re.compile(
    r"\| Postgres \| (\d+) and (\d+) \|\n\| Redis, Valkey \| Redis (\S+), Valkey (\S+) "
)
REQUIREMENTS = Path(__file__).parent / "postgres" / "requirements.txt"
# Tables and functions of every migration, commits, replay with proof, messages, and the client.
CASES = (
    "tests/storage/test_migrate.py",
    "tests/storage/test_roles.py",
    "tests/storage/test_reads_histories.py",
    "tests/agents/test_bridge_bounds.py",
    "tests/whole/test_client.py",
    "tests/whole/test_rolling_restart.py::test_columns_that_are_added",
    "tests/recovery/test_replay.py::test_a_rebuild_from_the_topics_is_the_same",
)


@asynccontextmanager
async def older_servers(stack: Addresses, folder: Path) -> AsyncIterator[Addresses]:
    """Postgres and Redis of Debian in `folder`, beside the broker of `stack`."""
    postgres, redis = free_ports(2)
    data = folder / "postgres"
    folder.chmod(0o777)
    binaries = await _install_postgres(folder / "package")
    as_user = {"user": "nobody"} if os.geteuid() == 0 else {}
    owner = ("-U", "execstream", "--auth=trust")
    await (await _begin(binaries / "initdb", "-D", data, *owner, cwd=folder, **as_user)).wait()
    settings = {"listen_addresses": HOST, "unix_socket_directories": "", "max_connections": "200"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    place = ("-D", data, "-p", str(postgres))
    servers = [
        await _begin(binaries / "postgres", *place, *options, cwd=folder, **as_user),
        await _begin(
            *(program("redis-server"), "--port", str(redis), "--bind", HOST, "--save", ""),
            cwd=folder,
        ),
    ]
    own = Addresses(
        stack.kafka_bootstrap,
        f"postgresql://execstream@{HOST}:{postgres}/postgres",
        f"redis://{HOST}:{redis}/0",
    )
    try:
        await until(lambda: _answer(own))
        yield own
    finally:
        for server in servers:
            server.send_signal(signal.SIGINT)
            await server.wait()


async def _install_postgres(folder: Path) -> Path:
    """The folder of the programs of Postgres, from a package of Python."""
    if platform.machine() != "x86_64":
        pytest.skip("The package of an older Postgres is for x86-64.")
    which = ("--python-version", "3.11", "--platform", "manylinux_2_17_x86_64")
    needs = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(REQUIREMENTS))
    pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    assert await (await _begin(*pip, "--target", folder, *which, *needs)).wait() == 0
    return folder / "pgserver" / "pginstall" / "bin"


async def _begin(*arguments: str | Path, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *map(str, arguments), stdout=DEVNULL, stderr=DEVNULL, **options
    )


async def _answer(servers: Addresses) -> bool:
    try:
        connection = await asyncpg.connect(servers.postgres_dsn)
        await connection.close()
        async with Redis.from_url(servers.redis_url) as redis:
            return bool(await redis.ping())
    except (OSError, asyncpg.CannotConnectNowError):
        return False


async def test_older_servers(stack: Addresses, tmp_path: Path) -> None:
    """The cases pass, on the versions that the manual names."""
    oldest, newest, redis, valkey = NAMED.findall((HOME / "docs/upgrading.md").read_text())[0]
    assert await _versions(stack) == (newest, valkey)
    async with older_servers(stack, tmp_path) as servers:
        assert await _versions(servers) == (oldest, redis)
        description = tmp_path / "stack.json"
        description.write_text(json.dumps(asdict(servers)))
        pytest_run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CASES),
            cwd=HOME,
            env=os.environ | {RUNNING_STACK: str(description)},
            stdout=PIPE,
        )
        out, _ = await pytest_run.communicate()
    assert pytest_run.returncode == 0, out.decode()[-5_000:]
    print(out.decode().splitlines()[-1])


async def _versions(servers: Addresses) -> tuple[str, str]:
    """Postgres's major version; the first two numbers of Redis or Valkey."""
    connection = await asyncpg.connect(servers.postgres_dsn)
    major = str(connection.get_server_version().major)
    await connection.close()
    async with Redis.from_url(servers.redis_url) as redis:
        about = await redis.info("server")
    version = about.get("valkey_version") or about["redis_version"]
    return major, ".".join(str(version).split(".")[:2])
