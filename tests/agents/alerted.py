"""Alerts as they are raised and published: steps that fail, a webhook, and a listener on Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from redis.asyncio import Redis

from execstream.storage.redis.channels import alert_channel
from tests.contract_validation import is_valid
from tests.orders import Orders
from tests.worker import QUICK, Installation, Worker, until

SECRET = "a secret of the tests"  # noqa: S105 - of the tests only


@dataclass
class Receiver:
    """A webhook; `refusals`: statuses to answer with before it takes anything."""

    refusals: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append((dict(request.headers), body))
        if self.refusals:
            return web.Response(status=self.refusals.pop(0))
        self.taken.append(json.loads(body))
        return web.Response()


@asynccontextmanager
async def receiving(*refusals: int) -> AsyncIterator[Receiver]:
    """A webhook on a port of its own, whose requests must be valid by the schema."""
    receiver = Receiver(list(refusals))
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
        kinds = ("alert", "run-end")
        bodies = [body for _, body in receiver.requests]
        assert [one for one in bodies if not any(is_valid(kind, one) for kind in kinds)] == []
    finally:
        await runner.cleanup()


@asynccontextmanager
async def heard(place: Installation) -> AsyncIterator[list[dict[str, Any]]]:
    """The messages about alerts on Redis."""
    said: list[dict[str, Any]] = []

    async with Redis.from_url(place.settings.redis) as redis, redis.pubsub() as messages:
        await messages.subscribe(
            **{
                alert_channel(place.settings.redis_prefix): lambda message: said.append(
                    json.loads(message["data"])
                )
            }
        )
        listening = asyncio.create_task(messages.run())
        try:
            yield said
        finally:
            listening.cancel()


async def begun(place: Installation, receiver: Receiver | None = None, **changes: Any) -> Worker:
    """A tally worker that owns partitions and calls the receiver; its caller stops it."""
    if receiver is not None:
        changes |= {"alert_webhook_url": receiver.url, "alert_webhook_secret": SECRET}
    worker = await place.start_worker("tally", timing=QUICK, **changes)

    async def owns() -> bool:
        assert worker.is_alive, worker.log()[-5:]
        return bool(worker.said("owns"))

    await until(owns)
    return worker


async def end_steps(
    place: Installation,
    block_id: str,
    outcomes: Sequence[str],
    at: datetime | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """A run with steps that end now, or `at` that time: first those that are "ok", then the others
    with the text of their error; those with the same text by one command, so that no reader sees
    some of them only.
    """
    orders = Orders()
    now = {"at": (at or datetime.now(UTC)).isoformat()}
    by_outcome: dict[str, list[str]] = {"ok": []}
    for number, outcome in enumerate(outcomes):
        by_outcome.setdefault(outcome, []).append(str(number))
    names = [name for some in by_outcome.values() for name in some]
    nodes = [orders.node(name, block_id=block_id) for name in names]
    steps = [orders.create(*nodes, **now), orders.start(**now)]
    steps.append(orders.move_steps(names, "RUNNING", **now))
    if good := by_outcome.pop("ok"):
        steps.append(orders.move_steps(good, "COMPLETED", **now))
    for error, failing in by_outcome.items():
        steps.append(orders.move_steps(failing, "FAILED", stats={"error": error}, **now))
    steps.append(orders.move("COMPLETED", **now))
    await place.put(one._replace(headers=headers) for one in steps)


async def opened(place: Installation, count: int = 1) -> list[dict[str, Any]]:
    """The rows of alerts once there are so many."""

    async def are_there() -> list[dict[str, Any]] | None:
        rows = [dict(row) for row in await place.db.fetch("select * from alert order by id")]
        return rows if len(rows) >= count else None

    found: list[dict[str, Any]] = await until(are_there)
    return found


async def has(things: Sequence[object], count: int) -> bool:
    return len(things) >= count
