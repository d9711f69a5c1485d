"""A stack starts, keeps its data, ends, and cleans up after an owner that was killed."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from execstream.devstack import Addresses, StackError, owner, start
from execstream.devstack.processes import family_of, is_alive

OWNER = [sys.executable, "-m", "tests.stack", "up"]
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@contextlib.contextmanager
def owner_of(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns a stack which answers, killed at the end if it still runs."""
    with subprocess.Popen([*OWNER, str(state)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = iter(process.stdout.readline, "")
            assert any(line == "}\n" for line in lines), "it ended before it had a stack"
            yield process
        finally:
            process.kill()


def servers_of(state: Path) -> list[psutil.Process]:
    """The processes of the stack that is described there, with their children."""
    pids = json.loads((state / "stack.json").read_text())["pids"]
    return [member for pid in pids.values() for member in family_of(pid)]


async def keep_something(at: Addresses) -> None:
    """Put a row into Postgres and a key into Redis."""
    connection = await asyncpg.connect(at.postgres_dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    async with Redis.from_url(at.redis_url) as redis:
        await redis.set("kept", "42")


async def what_was_kept(at: Addresses) -> tuple[object, object]:
    """Read back the data that `keep_something` put there."""
    connection = await asyncpg.connect(at.postgres_dsn)
    row = await connection.fetchval("SELECT answer FROM kept")
    await connection.close()
    async with Redis.from_url(at.redis_url) as redis:
        return row, await redis.get("kept")


async def test_a_stopped_stack_is_gone_and_its_data_comes_back(tmp_path: Path) -> None:
    """After `stop` no process and no description is left; the next `start` has the data."""
    stack = await start(tmp_path)
    await keep_something(stack)
    servers = servers_of(tmp_path)
    assert {"kafka", "postgres", "redis"} == set(stack.pids)
    assert len(servers) >= 3
    assert Addresses.read(tmp_path / "stack.json").kafka_bootstrap == stack.kafka_bootstrap

    await stack.stop()

    assert not any(map(is_alive, servers))
    assert not (tmp_path / "stack.json").exists()
    again = await start(tmp_path)
    assert await what_was_kept(again) == (42, b"42")
    await again.stop()


@pytest.mark.slow
async def test_a_killed_owner_is_cleaned_up_after(tmp_path: Path) -> None:
    """Processes that an owner killed with SIGKILL left running are ended by the next start, which
    works.
    """
    said: list[str] = []
    with owner_of(tmp_path) as process:
        left_behind = servers_of(tmp_path)
        process.kill()
        process.wait()
        assert all(map(is_alive, left_behind))

        stack = await start(tmp_path, report=said.append)

    assert not any(map(is_alive, left_behind))
    assert "Ended 3 processes that a killed owner had left running." in said
    assert not stack.ended()
    await stack.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_owner_asked_to_end_takes_its_servers_along(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM end the owner with exit code 0 and all servers; one owner at a time."""
    with owner_of(tmp_path) as process:
        servers = servers_of(tmp_path)
        with pytest.raises(StackError, match=f"already running, owned by process {process.pid}"):
            await start(tmp_path)

        process.send_signal(number)
        exit_code = await asyncio.to_thread(process.wait, timeout=10)

    assert exit_code == 0
    assert not any(map(is_alive, servers))


async def test_a_start_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """Cancelled on the way, a start ends what it has started, and another one can follow."""
    starting = asyncio.create_task(start(tmp_path))
    while not (tmp_path / "running.json").exists():  # noqa: ASYNC110 - files signal nothing
        await asyncio.sleep(0.01)
    noted = json.loads((tmp_path / "running.json").read_text())

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert noted
    assert not any(psutil.pid_exists(entry["pid"]) for entry in noted)
    assert not (tmp_path / "running.json").exists()


def test_other_processes_of_a_killed_owner_are_ended_too(tmp_path: Path) -> None:
    """Every noted process is ended; one that only has the id of a noted one is left alone."""
    with subprocess.Popen(SLEEP) as worker, subprocess.Popen(SLEEP) as stranger:
        started = psutil.Process(worker.pid).create_time()
        noted = [
            {"pid": worker.pid, "started": started, "stop_signal": signal.SIGTERM},
            {"pid": stranger.pid, "started": started - 60, "stop_signal": signal.SIGTERM},
        ]
        (tmp_path / "running.json").write_text(json.dumps(noted))

        ended = owner.end_orphans(tmp_path / "running.json")

        assert ended == 1
        assert worker.wait() == -signal.SIGTERM
        assert stranger.poll() is None
        stranger.kill()
