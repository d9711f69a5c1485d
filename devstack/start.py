"""Starting of a stack: missing programs are fetched, missing data created, existing data used.

A stack lives in one state directory: data, logs, the owner's lock, the note of running processes,
and `stack.json`, which has the addresses for other programs. Ports are new with every start.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event
from typing import IO

from execstream.devstack import kafka, owner, postgres, redis
from execstream.devstack.addresses import DESCRIPTION
from execstream.devstack.errors import StackError
from execstream.devstack.jars import ensure_jars
from execstream.devstack.java import find_java
from execstream.devstack.password import ensure_password
from execstream.devstack.ports import HOST, free_ports
from execstream.devstack.server import Server
from execstream.devstack.stack import RECORD, Stack

ROOM_NEEDED = 500  # MiB: the initial files of empty servers, and some data
LOCK = "owner.lock"

Report = Callable[[str], None]


async def start(state: Path, *, report: Report = print) -> Stack:
    """Start the three servers on the data of the state directory; return when all answer.

    Processes that a killed owner of the directory left running are ended first.

    Args:
        state: directory for everything the stack keeps; made when missing.
        report: called with a sentence about each slow step.

    Raises:
        StackError: something is missing, taken, full, or owned by another process.
    """
    state = state.absolute()
    try:
        _make_room(state)
        lock = owner.acquire(state / LOCK)
        try:
            return await _start(state, lock, report)
        except BaseException:
            lock.close()
            raise
    except OSError as error:
        raise StackError(
            f"The stack cannot be kept in {state}: {error.strerror} ({error.filename})."
        ) from error


async def _start(state: Path, lock: IO[str], report: Report) -> Stack:
    (state / DESCRIPTION).unlink(missing_ok=True)
    orphans = await asyncio.to_thread(owner.end_orphans, state / RECORD)
    if orphans:
        report(f"Ended {orphans} processes that a killed owner had left running.")
    runtime = kafka.Runtime(find_java(), await _jars(report))
    logs = _fresh_logs(state)
    kafka_port, controller_port, postgres_port, redis_port = free_ports(4)
    password = ensure_password(state)
    stack = Stack(
        kafka_bootstrap=f"{HOST}:{kafka_port}",
        postgres_dsn=postgres.dsn(postgres_port, password),
        redis_url=redis.url(redis_port, password),
        state=state,
        lock=lock,
    )
    await _bring_up(
        stack,
        kafka=kafka.prepare(state, logs, runtime, (kafka_port, controller_port)),
        postgres=postgres.prepare(state, logs, postgres_port, password, report),
        redis=redis.prepare(state, logs, redis_port, password),
    )
    stack.announce()
    return stack


async def _bring_up(stack: Stack, **servers: Awaitable[Server]) -> None:
    """Prepare and start all at once; when one fails, end the others and raise its error."""

    async def bring_up(name: str, preparing: Awaitable[Server]) -> None:
        await stack.bring_up(name, await preparing)

    try:
        async with asyncio.TaskGroup() as starting:
            for name, preparing in servers.items():
                starting.create_task(bring_up(name, preparing))
    except ExceptionGroup as failures:
        await stack.stop()
        raise failures.exceptions[0] from None
    except asyncio.CancelledError:
        await stack.stop()
        raise


async def _jars(report: Report) -> Path:
    """Fetch the jars in a thread that gives up when the start is cancelled."""
    cancelled = Event()
    try:
        return await asyncio.to_thread(ensure_jars, report, cancelled)
    finally:
        cancelled.set()


def _make_room(state: Path) -> None:
    state.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(state).free // 2**20
    if free < ROOM_NEEDED:
        raise StackError(
            f"There are {free} MB free on the disk of {state}, and the stack needs "
            f"{ROOM_NEEDED} MB: free some, or keep the state on another disk."
        )


def _fresh_logs(state: Path) -> Path:
    """Directory for the logs; those of the run before are kept once, as `*.log.old`."""
    logs = state / "logs"
    logs.mkdir(exist_ok=True)
    for log in logs.glob("*.log"):
        log.replace(log.with_suffix(".log.old"))
    return logs
