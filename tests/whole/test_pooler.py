"""A pooler before Postgres: everything refuses it with one sentence, and nothing is tried again."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from execstream import connect
from execstream.cli.diagnosis import State
from execstream.devstack.ports import HOST, free_ports
from execstream.storage.connections import SettingsNotApplied
from tests.fetching import program as fetched
from tests.whole.doctoring import complaint, settings_of
from tests.whole.program import Program
from tests.worker import Installation, until

pytestmark = pytest.mark.fetched

IGNORED = "search_path,jit,plan_cache_mode,intervalstyle,extra_float_digits"


@asynccontextmanager
async def pooler(dsn: str, folder: Path, mode: str, ignored: str) -> AsyncIterator[str]:
    """PgBouncer before the server of `dsn`; the address at which it answers."""
    server = urlsplit(dsn)
    (port,) = free_ports(1)
    (folder / "users.txt").write_text(f'"{server.username}" "{server.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
* = host={server.hostname} port={server.port}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = {mode}
ignore_startup_parameters = {ignored}
"""
    )
    folder.chmod(0o755)
    is_root = os.geteuid() == 0  # as which it does not run
    user = ("-u", "nobody") if is_root else ()
    process = await asyncio.create_subprocess_exec(
        *(fetched("pgbouncer"), "-q", *user, str(folder / "pgbouncer.ini"))
    )
    address = server._replace(netloc=f"{server.username}:{server.password}@{HOST}:{port}").geturl()

    async def answers() -> bool:
        try:
            await (await asyncpg.connect(address)).close()
        except OSError:
            return False
        return True

    try:
        await until(answers)
        yield address
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture(
    params=[("transaction", ""), ("transaction", IGNORED), ("session", ""), ("session", IGNORED)],
    ids=lambda one: f"{one[0]}, ignores {'them' if one[1] else 'nothing'}",
)
async def pooled(
    request: pytest.FixtureRequest, place: Installation, tmp_path: Path
) -> AsyncIterator[str]:
    """The address of a pooler that refuses session settings, or drops them."""
    async with pooler(place.settings.postgres, tmp_path, *request.param) as address:
        yield address


async def test_the_doctor_names_it(place: Installation, pooled: str) -> None:
    """With the one cure there is."""
    found = await complaint(settings_of(place).at(postgres_dsn=pooled), "postgres")
    assert (found.check, found.state) == ("sessions", State.FAILED)
    assert "PgBouncer" in found.found
    assert "Name Postgres itself in EXECSTREAM_POSTGRES_DSN" in str(found.remedy)


@pytest.mark.parametrize(
    "command",
    ["list", f"show {UUID(int=0)}", "verify", "migrate", "worker --role apply", "worker", "serve"],
)
async def test_a_program_ends_with_one_sentence(
    place: Installation, pooled: str, tmp_path: Path, command: str
) -> None:
    """At once, reads and workers alike."""
    environment = place.settings.environment() | {"EXECSTREAM_POSTGRES_DSN": pooled}
    done = await Program(tmp_path, environment)(*command.split())
    assert done.code == 1, done.err
    (sentence,) = done.err.splitlines()
    assert sentence.startswith("A pooler such as PgBouncer answers")
    assert "EXECSTREAM_POSTGRES_DSN" in sentence


async def test_reads_of_a_program_of_ones_own(place: Installation, pooled: str) -> None:
    """`connect` refuses it, too."""
    with pytest.raises(SettingsNotApplied):
        await connect(pooled, place.settings.schema_)
