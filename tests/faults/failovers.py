"""Servers that fail over to a replica, which takes over the address of the primary.

Postgres streams to a replica synchronously or not; without, the replica is held back before the
primary dies, so that commits of the last seconds are gone: the offsets go back with the rows.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from signal import SIGHUP, SIGSTOP
from urllib.parse import urlsplit

from execstream.devstack import Stack, postgres, redis, start
from execstream.devstack.ports import HOST, free_ports
from execstream.devstack.processes import family_of, identity, run
from execstream.devstack.server import Server
from tests.faults.progress import from_postgres
from tests.faults.scenarios import Run, bridge_repeated, repeated, under_load
from tests.faults.trial import Outcome, Trial

BEFORE = 1.5  # seconds from a replica until its primary dies; one held back lacks them
REPLICATOR = "execstream_replicator"
USER = postgres.USER_FOR_ROOT if os.geteuid() == 0 else None


def of_postgres(*, synchronous: bool) -> Run:
    """Return a run that kills the primary and promotes its replica, on a stack of its own."""

    async def run(_: Stack, folder: Path, seed: int, times: int) -> Outcome:
        state = folder / f"failover-{synchronous}"
        stack = await start(state, report=lambda _: None)
        try:
            pair = PostgresPair(stack)
            await pair.admit_replicator()
            script = repeated(lambda trial: pair.fail_over(trial, synchronous=synchronous))
            return await under_load(script)(stack, folder, seed, times)
        finally:
            await stack.stop()
            shutil.rmtree(state, ignore_errors=True)

    return run


class PostgresPair:
    """A primary, and before each fail-over a replica of it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._data = stack.state / "postgres"  # of the primary
        self._count = 0
        address = urlsplit(stack.postgres_dsn)
        assert address.port is not None
        self._port = address.port
        self._password = str(address.password)
        about = f"user={REPLICATOR} password={address.password}"
        self._primary = f"host={HOST} port={self._port} {about}"
        self._create = f"create role {REPLICATOR} login replication password '{address.password}'"

    async def admit_replicator(self) -> None:
        """Give Postgres a role that may replicate."""
        await self._stack.kill("postgres")
        cluster = postgres.Cluster(postgres.find_binaries(), self._data, USER)
        complaint = await cluster.execute("postgres", self._create)
        assert complaint is None, complaint
        with (self._data / "pg_hba.conf").open("a") as access:
            access.write(f"host replication {REPLICATOR} {HOST}/32 scram-sha-256\n")
        await self._stack.restart("postgres")

    async def fail_over(self, trial: Trial, *, synchronous: bool) -> None:
        """A replica is made; then the primary dies, and the replica takes its place and port."""
        applied = from_postgres(trial.installation)
        self._count += 1
        data = self._data.with_name(f"replica-{self._count}")
        replica = await self._replicate(data)
        if synchronous:
            await self._wait_for_replica()
        else:
            for process in family_of(replica.pid or 0):
                process.send_signal(SIGSTOP)
        await asyncio.sleep(BEFORE)
        before = await applied() or {}
        trial.struck()
        await self._stack.kill("postgres")
        await replica.kill()
        (data / "standby.signal").unlink()
        _set(data, "synchronous_standby_names", "")
        await self._stack.bring_up("postgres", self._server(data, self._port))
        self._data = data
        after = await applied() or {}
        back = sum(max(0, end - after.get(partition, 0)) for partition, end in before.items())
        trial.outcome.notes.append(f"{back:,} commands of the old primary applied again")

    async def _replicate(self, data: Path) -> Server:
        """Start a replica that streams, from a copy of the primary."""
        data.mkdir(mode=0o700)
        if USER is not None:
            shutil.chown(data, USER)
        program = str(postgres.find_binaries() / "pg_basebackup")
        command = [
            program,
            "-D",
            str(data),
            "-d",
            self._primary,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        ]
        complaint = await run(command, identity(USER))
        assert complaint is None, complaint
        replica = self._server(data, free_ports(1)[0])
        replica.spawn()
        await replica.wait_ready()
        return replica

    async def _wait_for_replica(self) -> None:
        """Have the primary wait for the replica at each commit from now on."""
        _set(self._data, "synchronous_standby_names", "*")
        os.kill(self._stack.pids["postgres"], SIGHUP)

    def _server(self, data: Path, port: int) -> Server:
        """Return a server like that of the stack, on other data and port."""
        old = self._stack._servers["postgres"]
        program, *options = old.command
        others = options[2:]  # behind the directory
        command = [program, "-D", str(data), *others[:-2], "-c", f"port={port}"]

        async def is_ready() -> bool:
            return await postgres.has_database(port, self._password)

        return replace(old, command=command, ports=(port,), is_ready=is_ready)


def _set(data: Path, name: str, value: str) -> None:
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(f"{name} = '{value}'\n")


def of_redis(_: Stack, folder: Path, seed: int, times: int) -> Awaitable[Outcome]:
    """Kill the primary of Redis and let its replica take its place, on a stack of its own."""
    return _fail_redis_over(folder, seed, times)


async def _fail_redis_over(folder: Path, seed: int, times: int) -> Outcome:
    state = folder / "failover-redis"
    stack = await start(state, report=lambda _: None)
    try:
        script = bridge_repeated(fail_redis_over)
        return await under_load(script, redis_stays=False)(stack, folder, seed, times)
    finally:
        await stack.stop()
        shutil.rmtree(state, ignore_errors=True)


async def fail_redis_over(trial: Trial) -> None:
    """A replica is made; then the primary dies, and the replica takes its place and port."""
    stack = trial.stack
    address = urlsplit(stack.redis_url)
    assert address.port is not None
    folder = stack.state / f"redis-replica-{trial.outcome.trials}"
    folder.mkdir()
    port, password = free_ports(1)[0], str(address.password)
    replica = await redis.prepare(folder, folder, port, password)
    configuration = Path(replica.command[1])
    text = configuration.read_text()
    configuration.write_text(f"{text}replicaof {HOST} {address.port}\nmasterauth {password}\n")
    replica.spawn()
    await replica.wait_ready()
    await asyncio.sleep(BEFORE)
    trial.struck()
    await stack.kill("redis")
    await replica.stop()  # it saves its data
    await stack.bring_up("redis", await redis.prepare(folder, folder, address.port, password))
