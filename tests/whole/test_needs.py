"""Servers that answer and refuse operations that workers need: probes and doctor name the reason,
workers wait without a crash, and go on once it is cured.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from redis.asyncio import Redis

from execstream.cli.diagnosis import State, cache, examine, standstill
from execstream.devstack import Stack
from execstream.devstack.ports import free_ports
from execstream.models import GraphExecutionEvent
from execstream.storage.redis.buses.asynchronous import AsyncRedisExecutionEventBus
from execstream.streams.topics import COMMANDS, EVENTS
from tests.orders import Order, Orders
from tests.whole.doctoring import SECRET, complaint, complaints, settings_of, with_user
from tests.worker import Installation, Worker, installation, until


@pytest.fixture(scope="module")
async def place(
    breakable_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """On servers that are changed."""
    async with installation(breakable_stack, tmp_path_factory.mktemp("logs")) as own:
        yield own


@dataclass
class Asked:
    """A worker and its /readyz."""

    worker: Worker
    port: int

    async def ready(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/readyz"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            found: dict[str, Any] = await answer.json()
            assert (answer.status == 200) == (found["status"] == "ready")
            return found

    async def is_ready(self) -> bool:
        return bool((await self.ready())["status"] == "ready")

    def lacks(self, server: str, words: str) -> Callable[[], Awaitable[bool]]:
        """Return whether it is not ready, with a reason of these words for a server."""

        async def lacks() -> bool:
            found = await self.ready()
            return found["status"] == "not ready" and words in found["reasons"].get(server, "")

        return lacks

    def waits_for(self, words: str) -> Callable[[], Awaitable[bool]]:
        """Return whether work is retried for a reason of these words."""

        async def waits() -> bool:
            return any(words in reason for reason in (await self.ready())["waiting"].values())

        return waits


@asynccontextmanager
async def asked(place: Installation, role: str, **changes: Any) -> AsyncIterator[Asked]:
    """A worker that is ready; at the end it must still be the same process."""
    [port] = free_ports(1)
    changes[f"{role}_port"] = port
    worker = await place.start_worker(role, **changes)

    async def is_up() -> bool:
        assert worker.is_alive, worker.log()[-5:]
        return bool(worker.said("owns"))

    try:
        await until(is_up)
        one = Asked(worker, port)
        await until(one.is_ready)
        yield one
        assert worker.is_alive, worker.log()[-5:]
    finally:
        await worker.stop()


def life() -> list[Order]:
    orders = Orders()
    return [orders.create(orders.node("n")), orders.start(), orders.move("COMPLETED")]


# ---- Redis -------------------------------------------------------------------------------------


@asynccontextmanager
async def full(redis: Redis) -> AsyncIterator[str]:
    await redis.config_set("maxmemory-policy", "noeviction")
    await redis.config_set("maxmemory", "1")
    try:
        yield "used memory > 'maxmemory'"
    finally:
        await redis.config_set("maxmemory", "0")


@asynccontextmanager
async def replica(redis: Redis) -> AsyncIterator[str]:
    (nobody,) = free_ports(1)
    await redis.replicaof("127.0.0.1", nobody)
    try:
        yield "read only replica"
    finally:
        await redis.replicaof("NO", "ONE")


@pytest.mark.parametrize("broken", [full, replica])
async def test_a_redis_that_takes_no_writes(
    place: Installation, broken: Callable[[Redis], Any]
) -> None:
    """The bridge is not ready and names the reason, as its log and the doctor do; afterwards it
    publishes everything."""
    settings = settings_of(place)
    positions = f"{settings.redis_prefix}execution_bridge/{place.topic(EVENTS.name)}"
    orders = life()
    async with (
        Redis.from_url(settings.redis) as redis,
        place.worker(),
        asked(place, "bridge") as bridge,
    ):
        async with broken(redis) as words:
            await place.put(orders)
            await until(bridge.lacks("redis", words))
            await until(bridge.waits_for(words))
            found = await complaint(settings, "redis")
            assert (found.check, words in found.found) == ("writing", True)
        await until(bridge.is_ready)

        async def is_published() -> bool:
            events = await place.events()
            places = await redis.hgetall(positions)
            ends = {number: records[-1].offset + 1 for number, records in events.items()}
            return all(int(places.get(b"%d" % n, 0)) >= end for n, end in ends.items())

        await until(is_published)
        assert any(words in line["error"] for line in bridge.worker.said("retry"))
        password = str(urlsplit(settings.redis).password)
        assert password not in bridge.worker.log_file.read_text()


@pytest.mark.slow
async def test_a_redis_user_with_exactly_what_is_named(place: Installation) -> None:
    """With the command that the doctor prints everything works; without any part of it the doctor
    prints it."""
    user = place.settings.schema_
    limited = settings_of(place).at(redis_url=with_user(place.settings.redis, user, SECRET))
    command = cache.acl_command(limited)
    assert f"ACL SETUSER {user} " in command
    async with Redis.from_url(place.settings.redis) as redis:

        async def allow(rules: list[str]) -> None:
            words = ("ACL", "SETUSER", user, "reset", "on", f">{SECRET}", *rules)
            await redis.execute_command(*words)  # type: ignore[no-untyped-call]

        rules = command.split()[3:]
        try:
            await allow(rules)
            assert await complaints(limited, "redis") == []
            await _hears_of_a_run(place, limited.redis)
            for rule in rules:
                await allow([one for one in rules if one != rule])
                found = await complaint(limited, "redis")
                assert command in str(found.remedy) or rule == "+ping", rule
                assert SECRET not in found.found + str(found.remedy)
        finally:
            await redis.acl_deluser(user)


def bus_of(place: Installation, url: str) -> AsyncRedisExecutionEventBus:
    return AsyncRedisExecutionEventBus(
        url,
        place.settings.postgres,
        schema=place.settings.schema_,
        redis_prefix=place.settings.redis_prefix,
    )


async def _hears_of_a_run(place: Installation, url: str) -> None:
    """Commands are answered, and events received, by all who use Redis as that user."""
    orders = Orders()
    async with (
        place.worker(redis_url=url),
        asked(place, "bridge", redis_url=url),
        bus_of(place, url) as bus,
        bus.listen("*") as events,
        Redis.from_url(url) as redis,
        redis.pubsub() as replies,
    ):
        channel = f"{place.settings.redis_prefix}execution_reply/of-this-test"
        await replies.subscribe(channel)
        await place.put([orders.create(reply_to="of-this-test")])
        event = await anext(events)
        assert isinstance(event, GraphExecutionEvent)
        assert event.id == orders.run_id

        async def is_answered() -> bool:
            message = await replies.get_message(ignore_subscribe_messages=True, timeout=1)
            return message is not None

        await until(is_answered)


# ---- Postgres ----------------------------------------------------------------------------------


@asynccontextmanager
async def read_only(place: Installation) -> AsyncIterator[None]:
    """Sessions end as after a failover, and new ones find a standby."""
    able = {"default_transaction_read_only": "off"}
    connection = await asyncpg.connect(place.settings.postgres, server_settings=able)
    name = await connection.fetchval("select current_database()")
    others = """select pg_terminate_backend(pid) from pg_stat_activity
                 where application_name like 'execstream in %'"""
    try:
        await connection.execute(f"alter database {name} set default_transaction_read_only = on")
        await connection.execute(others)
        yield
    finally:
        await connection.execute(f"alter database {name} reset default_transaction_read_only")
        await connection.execute(others)
        await connection.close()


@pytest.mark.parametrize("role", ["apply", "tally"])
async def test_a_postgres_that_takes_no_writes(place: Installation, role: str) -> None:
    """A worker is not ready, waits with the reason, and goes on in the same process."""
    async with asked(place, role) as one:
        async with read_only(place):
            await place.put(life())
            await until(one.lacks("postgres", "read-only"))
            if role == "apply":
                await until(one.waits_for("read-only transaction"))
                said = one.worker.said("retry") + one.worker.said("claim_retry")
                assert any("read-only transaction" in line["error"] for line in said)
            found = await complaint(settings_of(place), "postgres")
            assert (found.check, found.state) == ("writing", State.FAILED)
            assert "default_transaction_read_only" in str(found.remedy)
        await until(one.is_ready)
    async with place.worker():
        await place.drained()


async def test_a_bridge_only_reads_postgres(place: Installation) -> None:
    """A standby is enough for it, once it is connected again."""
    async with asked(place, "bridge") as bridge, read_only(place):
        await until(bridge.is_ready)


# ---- consumers ---------------------------------------------------------------------------------


async def test_a_standstill(
    breakable_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that no worker reads are a failure, before the first worker and after the last;
    not while one works."""
    monkeypatch.setattr(standstill, "WATCHED_FOR", 0.1)
    async with installation(breakable_stack, tmp_path) as own:
        settings = settings_of(own)
        await own.put(life())
        found = await complaint(settings, "consumers")
        assert f"no worker has begun to read {COMMANDS.name}" in found.found
        async with asked(own, "apply"), asked(own, "tally"), asked(own, "bridge"):
            await own.drained()
            await until(lambda: _are_well(own))
        orders = Orders()
        await own.put([orders.create()])
        partition = own.puts[-1][0]
        found = await complaint(settings, "consumers")
        assert f"apply has not moved on {own.topic(COMMANDS.name)}[{partition}]" in found.found
        assert "with 1 records to read" in found.found


async def _are_well(own: Installation) -> bool:
    return [f async for f in examine(settings_of(own)) if f.state is not State.OK] == []
