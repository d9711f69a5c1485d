"""The endpoints `/livez`, `/readyz` and `/metrics` of a worker.

Ready is a worker that could do its work now: its servers take writes where it writes, and no work
has failed for some seconds and is tried again.

Liveness means progress: a partition that has lag and has not moved for half a minute, or of which
no fetch returned for so long, makes the worker not alive, whatever the reason; so does a partition
that was assigned and not claimed for twice as long. A restart is a recovery, so it does no harm
when the reason is elsewhere, and helps when it is here. A partition that an open transaction holds
back is named and does not make the worker dead: a restart would take the other partitions from it,
too, and cure nothing.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from typing import Any

import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from faust.types import TP
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.metrics import BUILD, INSTALLATION
from execstream.agents.runtime.partition_progress import Progress
from execstream.agents.runtime.probe_port import LIVE, METRICS, READY
from execstream.agents.runtime.retries import Waiting, is_transient, waiting
from execstream.config.settings import Settings
from execstream.kafka.security import client_options
from execstream.kafka.transactions import ABORT, ask_open_transactions
from execstream.storage.connections import IS_READ_ONLY, ReadOnly, Session
from execstream.storage.redis.positions import RedisPositions, open_redis
from execstream.streams.errors import Transient, reason_of
from execstream.streams.topics import EVENTS

log = structlog.get_logger(__name__)

OBSERVE_EVERY = 1.0  # seconds
READY_WITHIN = 2.0  # seconds for each server to answer, and for work to be tried again


def declare(app: App, settings: Settings, stall_after: float) -> None:
    """Declare the probes of `app`, and the timer that watches its progress.

    `stall_after`: seconds of lag without progress until the worker counts as not alive.
    """
    progress = Progress(app, stall_after)
    servers = Servers(settings, is_bridge=app.conf.id.endswith("-bridge"))
    reported: set[TP] = set()

    @app.timer(OBSERVE_EVERY)
    async def observe() -> None:
        progress.observe()
        held = set(progress.held_back())
        await _report_held_back(settings.kafka, held - reported)
        reported.clear()
        reported.update(held)
        # A worker that waits for a broker works as intended, and so does one that refuses.
        if app.refusal or (progress.unsettled() and await servers.kafka_is_away()):
            progress.excuse()

    @app.task
    async def learn() -> None:
        await app.identity.learn()

    @app.page(LIVE)
    async def livez(web: Any, _: Any) -> Any:
        stalled, held = progress.stalled(), progress.held_back()
        status = "stalled" if stalled else "held back" if held else "alive"
        named = [f"{tp.topic}[{tp.partition}]" for tp in held]
        document = {"status": status, "stalled": stalled, "held_back": named}
        return _answer(web, not stalled, document | app.identity.members)

    @app.page(READY)
    async def readyz(web: Any, _: Any) -> Any:
        reasons = await servers.reasons()
        waits = _waits(app)
        is_ready = not waits and not any(reasons[server] for server in servers.needed)
        document = {
            "status": "ready" if is_ready else "not ready",
            **{server: reason is None for server, reason in reasons.items()},
            "reasons": {server: reason for server, reason in reasons.items() if reason},
            "waiting": waits,
        }
        return _answer(web, is_ready, document | app.identity.members)

    @app.page(METRICS)
    async def metrics(web: Any, _: Any) -> Any:
        progress.observe()
        INSTALLATION.info(app.identity.labels)
        BUILD.info(app.identity.build)
        return web.bytes(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.on_close(servers.close)


class Servers:
    """Tries the servers as the worker uses them.

    Attributes:
        needed: those without which the worker cannot do its work.
    """

    def __init__(self, settings: Settings, *, is_bridge: bool) -> None:
        # Nothing but the bridge waits for Redis.
        self.needed = ("postgres", "kafka", "redis") if is_bridge else ("postgres", "kafka")
        self._is_bridge = is_bridge
        self._kafka_bootstrap = settings.kafka
        self._line = Session(settings.postgres, settings.schema_)
        self._redis = open_redis(settings.redis)
        events = settings.topic_prefix + EVENTS.name
        self._positions = RedisPositions(self._redis, settings.redis_prefix, events)
        self._asking = asyncio.Lock()  # the line has room for one

    async def reasons(self) -> dict[str, str | None]:
        """Why each server cannot be used, or None if it can."""
        async with self._asking:
            found = await asyncio.gather(
                _reason_of_failure(lambda: _ask_postgres(self._line, writes=not self._is_bridge)),
                _reason_of_failure(self._ask_kafka),
                _reason_of_failure(
                    self._positions.rehearse if self._is_bridge else self._redis.ping
                ),
            )
        return dict(zip(("postgres", "kafka", "redis"), found, strict=True))

    async def kafka_is_away(self) -> bool:
        """Return whether no broker answers."""
        return await _reason_of_failure(self._ask_kafka) is not None

    async def close(self) -> None:
        await self._line.close()
        await self._redis.aclose()

    async def _ask_kafka(self) -> None:
        client = AIOKafkaClient(bootstrap_servers=self._kafka_bootstrap, **client_options())
        try:
            await client.bootstrap()
        finally:
            await client.close()


def _waits(app: App) -> dict[str, str]:
    """The reasons why the worker waits, by activity."""
    waits = {what: one.reason for what, one in waiting.items() if _is_lasting(one)}
    return waits if app.refusal is None else waits | {"partitions": app.refusal}


async def _report_held_back(bootstrap: str, held: Collection[TP]) -> None:
    """Log which producers hold `held` back."""
    if not held:
        return
    places = sorted((tp.topic, tp.partition) for tp in held)
    try:
        async with asyncio.timeout(READY_WITHIN):
            found = await ask_open_transactions(bootstrap, places)
    except (KafkaError, OSError) as error:  # a time-out is an OSError, too
        log.warning("held_back", partitions=places, producers=repr(error)[:200], remedy=ABORT)
        return
    for transaction in found:
        log.warning("held_back", found=transaction.describe(), remedy=ABORT)


def _answer(web: Any, is_well: bool, document: dict[str, Any]) -> Any:
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return web.bytes(json.dumps(document).encode(), content_type="application/json", status=status)


def _is_lasting(one: Waiting) -> bool:
    """Return whether work has been retried for so long that it is reported."""
    return time.monotonic() - one.since > READY_WITHIN


async def _reason_of_failure(ask: Callable[[], Awaitable[Any]]) -> str | None:
    """Return why a server cannot be used, or None if it can."""
    try:
        await asyncio.wait_for(ask(), READY_WITHIN)
    except Exception as error:
        if not (isinstance(error, Transient) or is_transient(error)):
            raise
        return reason_of(error)
    return None


async def _ask_postgres(line: Session, *, writes: bool) -> None:
    try:
        is_read_only = await (await line.get()).fetchval(IS_READ_ONLY)
    except BaseException:
        line.terminate()
        raise
    if is_read_only and writes:
        line.terminate()  # the next may lead to another server
        raise ReadOnly
