"""`make compose-check`: docker-compose.yml really run, with work from this machine.

1. Everything comes up; 200 simulated runs are sent at full speed.
2. The apply worker is scaled to 3; while 200 further runs are sent, one of the three is killed.
3. Back to one, which is killed while 200 further runs are sent, and started again.
4. Redis is restarted, and still has the bridge's positions.
5. The user of Postgres becomes a superuser, as in a volume of version 0.1; the commands of
   docs/deploy.md move the data to a new volume, and 200 further runs are sent.

Each time the receipt must show that nothing was lost, and that every row equals an independent fold
of the commands. Everything is taken down at the end; figures are printed.
"""

import asyncio
import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from execstream.cli.graphs import read_graphs
from execstream.config.settings import Settings
from execstream.storage.redis.positions import RedisPosition, RedisPositions
from execstream.streams.topics import EVENTS
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.demo import Demo, Receipt
from tests.containers import engine
from tests.containers.composed import HOME, Composed, Failed, composed, docker

RUNS = 200
PACE = 1_500  # commands per second, while something else happens
WORKERS = 3
POLL = 0.05  # seconds
PATIENCE = 60.0  # seconds

Meanwhile = Callable[[Demo], Coroutine[Any, Any, None]]


def report(text: str) -> None:
    print(f"compose-check: {text}", flush=True)


async def check(stack: Composed) -> None:
    """All parts; Failed when something is not as it must be."""
    report("building the image")
    await asyncio.to_thread(stack.build)
    begun = time.monotonic()
    await asyncio.to_thread(stack.up)
    report(f"start to healthy: {time.monotonic() - begun:.1f} s")
    confined(stack)
    await unprivileged(stack.settings())
    receipt = await performed(stack.settings(), rate=0)
    report(f"commands/s through compose: {receipt.commands_per_second:,}")
    runs_listed(stack)
    await asyncio.to_thread(stack.up, WORKERS)
    report(f"scaled to {WORKERS}: {len(stack.containers('apply'))} workers are healthy")
    await performed(stack.settings(), PACE, one_of_three_is_killed(stack))
    await asyncio.to_thread(stack.up)
    report(f"scaled back: {len(stack.containers('apply'))} worker")
    await performed(stack.settings(), 0, the_only_one_is_killed(stack))
    await remembered(stack)
    await moved(stack)
    await performed(stack.settings(), rate=0)


def confined(stack: Composed) -> None:
    """Workers and the server run as no root, and can write nowhere but in /tmp."""
    for service in ("apply", "tally", "bridge", "server"):
        (container,) = stack.containers(service)
        found = json.loads(docker("inspect", container))[0]
        user = docker("exec", container, "id", "-u").strip()
        if user == "0" or not found["HostConfig"]["ReadonlyRootfs"]:
            raise Failed(f"{service} runs as user {user} on a root that can be written to.")
    image = json.loads(docker("image", "inspect", found["Image"]))[0]
    report(f"user {user}, read-only root; the image has {image['Size'] / 1e6:,.0f} MB")


async def unprivileged(settings: Settings) -> None:
    """The users of the servers can change no server."""
    connection = await asyncpg.connect(settings.postgres)
    try:
        if await connection.fetchval("select rolsuper from pg_roles where rolname = current_user"):
            raise Failed("The role of the workers is a superuser.")
    finally:
        await connection.close()
    async with Redis.from_url(settings.redis) as redis:
        try:
            await redis.config_get("dir")
        except NoPermissionError:
            report("no superuser of Postgres, no CONFIG of Redis")
        else:
            raise Failed("The user of the workers may read the configuration of Redis.")


async def remembered(stack: Composed) -> None:
    """Redis has the positions of the bridge after a restart."""
    (bridge,), (server,) = stack.containers("bridge"), stack.containers("redis")
    await asyncio.to_thread(docker, "stop", bridge)
    settings = stack.settings()
    async with Redis.from_url(settings.redis) as redis:
        positions = RedisPositions(redis, settings.redis_prefix, EVENTS.name)
        before = await positions.load()
        await asyncio.to_thread(docker, "restart", server)
        async with asyncio.timeout(PATIENCE):
            while (found := await loaded(positions)) is None:  # noqa: ASYNC110 - in a container
                await asyncio.sleep(POLL)
    await asyncio.to_thread(stack.up)
    if not before or found != before:
        raise Failed(f"Redis had {before} before its restart, and {found} after it.")
    report(f"Redis knows {len(found)} positions after a restart")


async def loaded(positions: RedisPositions) -> dict[int, RedisPosition] | None:
    """The positions, or None while Redis is not up."""
    try:
        return await positions.load()
    except RedisError:
        return None


async def moved(stack: Composed) -> None:
    """The data are those of before, and belong to a user without superuser rights."""
    (postgres,) = stack.containers("postgres")
    docker("exec", postgres, "psql", "-U", "postgres", "-c", "alter role execstream superuser")
    before = await contents(stack.settings())
    commands = re.search(r"```sh\n([^`]*pg_dump[^`]*)```", (HOME / "docs/deploy.md").read_text())
    if commands is None:
        raise Failed("docs/deploy.md has no commands that move the data.")
    with TemporaryDirectory() as folder:
        dump = str(Path(folder, "before.dump"))
        await asyncio.to_thread(stack.follow, commands[1].replace("before.dump", dump))
    await unprivileged(stack.settings())
    if await contents(stack.settings()) != before:
        raise Failed("The moved rows are not those of before.")
    report("the data are in a new volume, row for row")


async def contents(settings: Settings) -> dict[str, str]:
    """The digest of all rows, by table."""
    digest = "select md5(string_agg(md5(t::text), '' order by t::text)) from execstream."
    connection = await asyncpg.connect(settings.postgres)
    try:
        return {
            table: await connection.fetchval(f"{digest}{table} t")
            for table in ("graph_execution", "node_execution", "journal", "dead_letter")
        }
    finally:
        await connection.close()


def runs_listed(stack: Composed) -> None:
    """The HTTP server rejects requests without the token, and lists runs with it."""
    headers = {"Authorization": f"Bearer {stack.token}"}
    with urlopen(Request(f"{stack.url}/v1/executions", headers=headers), timeout=10) as answer:  # noqa: S310
        if not json.load(answer)["data"]:
            raise Failed("The server lists no runs.")


def one_of_three_is_killed(stack: Composed) -> Meanwhile:
    async def kill(demo: Demo) -> None:
        chosen = stack.containers("apply")[0]
        await until(lambda: sum(demo.outcomes) > 0)
        await asyncio.to_thread(docker, "kill", chosen)
        report("killed one of three workers in the middle")

    return kill


def the_only_one_is_killed(stack: Composed) -> Meanwhile:
    async def kill(demo: Demo) -> None:
        (container,) = stack.containers("apply")
        await until(lambda: sum(demo.outcomes) > 0)
        await asyncio.to_thread(docker, "kill", container)
        producer = demo.producer
        await until(lambda: producer is not None and producer.acknowledged == producer.sent > 0)
        waiting = producer.sent - sum(demo.outcomes) if producer else 0
        begun = time.monotonic()
        await asyncio.to_thread(docker, "start", container)
        await until(lambda: producer is not None and sum(demo.outcomes) >= producer.sent)
        report(f"restart to lag 0: {time.monotonic() - begun:.1f} s, {waiting:,} commands waited")

    return kill


async def performed(settings: Settings, rate: float, meanwhile: Meanwhile | None = None) -> Receipt:
    """The receipt of so many runs; Failed when it is not good."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "commands.jsonl")
        demo = Demo(read_graphs(EXAMPLE_GRAPHS), RUNS, rate, secrets.randbits(63), file)
        await asyncio.to_thread(demo.write)
        async with asyncio.TaskGroup() as tasks:
            never = asyncio.get_running_loop().create_future()
            tasks.create_task(demo.perform(settings, never))
            if meanwhile is not None:
                tasks.create_task(meanwhile(demo))
        receipt = await demo.receipt(settings, {}, lambda _done, _total: None)
    report(
        f"{receipt.runs} runs, {receipt.sent:,} commands: {receipt.acknowledged:,} acknowledged, "
        f"{receipt.lost} lost, {len(receipt.differences)} differences"
    )
    if not receipt.is_good:
        raise Failed("; ".join(receipt.differences) or "Commands were lost.")
    return receipt


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - it happens in containers
            await asyncio.sleep(POLL)


def main() -> int:
    if not engine.answers():
        print(engine.ABSENT, file=sys.stderr)
        return 1
    failed = False
    with composed() as stack:
        try:
            asyncio.run(check(stack))
        except* (Failed, TimeoutError) as failures:
            failed = True
            print(stack.logs(), *map(repr, failures.exceptions), sep="\n", file=sys.stderr)
    report("FAILED" if failed else "everything is taken down; nothing was lost")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
