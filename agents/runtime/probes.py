"""The endpoints `/livez`, `/readyz` and `/metrics` of a worker.

Alive is who makes progress: a partition that has lag and whose position has not moved for half a
minute, or of which nothing was heard for so long, makes the worker not alive, whatever the reason;
so does what is assigned and not taken over for twice as long. Starting is recovering, so a restart
does no harm when the reason is elsewhere, and helps when it is here.
"""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import structlog
from aiokafka.client import AIOKafkaClient
from faust.exceptions import ConsumerNotStarted
from faust.types import TP
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis

from execstream.agents.runtime.faust_app import App, Consumer
from execstream.agents.runtime.metrics import (
    LAG_RECORDS,
    LAG_SECONDS,
    PARTITIONS,
    POSITION_TIMESTAMP,
)
from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.agents.runtime.retries import is_transient
from execstream.config.settings import Settings
from execstream.kafka.security import client_options
from execstream.storage.connections import Session

log = structlog.get_logger(__name__)

LIVE, READY, METRICS = "/livez", "/readyz", "/metrics"
OBSERVE_EVERY = 1.0  # seconds
READY_WITHIN = 2.0  # seconds for each server to answer
SETTLING = 2  # times as long as for progress: a rebalance alone may take half a minute


@dataclass(slots=True)
class _Seen:
    """What was seen of a partition. Times are of `time.monotonic` but for `current_at`."""

    owned: AssignedPartition
    done: int
    moved_at: float  # when it last moved, or a fetch found that it had no lag
    current_at: float  # Unix time when it last had no lag, or became ours


class Progress:
    """Watches how the partitions of an app move that it owns, and that it comes to own them."""

    def __init__(self, app: App, stall_after: float) -> None:
        self._app = app
        self._stall_after = stall_after
        self._seen: dict[TP, _Seen] = {}
        self._settled_at = time.monotonic()

    def observe(self) -> None:
        """Look at every partition; sets the gauges of lag."""
        seen: dict[TP, _Seen] = {}
        for topic, buffer in self._app.buffers.items():
            PARTITIONS.labels(topic).set(len(buffer.owned))
            ends = buffer.ends()
            for owned in buffer.owned.values():
                lag = max(0, ends.get(owned.number, owned.done) - owned.done)
                seen[owned.tp] = now = self._look(owned, lag)
                _set_gauges(owned, lag, now)
        for tp in self._seen.keys() - seen.keys():
            for gauge in (LAG_RECORDS, LAG_SECONDS, POSITION_TIMESTAMP):
                gauge.remove(tp.topic, str(tp.partition))
        self._seen = seen
        if not self.unsettled():
            self.excuse()

    def unsettled(self) -> list[str]:
        """Topics of which nothing is ours although it is assigned, or is being assigned."""
        try:
            assigned = {tp.topic for tp in self._app.consumer.assignment()}
        except ConsumerNotStarted:
            return []  # no broker has answered yet
        return [
            topic
            for topic, buffer in sorted(self._app.buffers.items())
            if not buffer.owned and (self._app.rebalancing or topic in assigned)
        ]

    def excuse(self) -> None:
        """Restart the assignment timeout."""
        self._settled_at = time.monotonic()

    def stalled(self) -> list[str]:
        """Partitions that have not moved for `stall_after` seconds, as topic[number], and topics
        that have not been settled for SETTLING times as long."""
        now = time.monotonic()
        partitions = [
            f"{tp.topic}[{tp.partition}]"
            for tp, seen in sorted(self._seen.items())
            if seen.moved_at < now - self._stall_after
        ]
        is_settling = self._settled_at >= now - SETTLING * self._stall_after
        return partitions if is_settling else partitions + self.unsettled()

    def _look(self, owned: AssignedPartition, lag: int) -> _Seen:
        before = self._seen.get(owned.tp)
        now = time.monotonic()
        if before is None or before.owned is not owned:
            return _Seen(owned, owned.done, now, time.time())
        if not lag:
            before.current_at = time.time()
            before.moved_at = max(before.moved_at, cast(Consumer, self._app.consumer).fetched_at)
        if owned.done != before.done:
            before.moved_at, before.done = now, owned.done
        return before


def _set_gauges(owned: AssignedPartition, lag: int, seen: _Seen) -> None:
    labels = (owned.tp.topic, str(owned.number))
    # What waits came after the last record that was done, and after the moment nothing waited.
    waiting_since = max(seen.current_at, owned.done_at / 1000) if owned.done_at else seen.current_at
    LAG_RECORDS.labels(*labels).set(lag)
    LAG_SECONDS.labels(*labels).set(max(0.0, time.time() - waiting_since) if lag else 0)
    POSITION_TIMESTAMP.labels(*labels).set(owned.done_at / 1000)


def declare(app: App, settings: Settings, stall_after: float) -> None:
    """Declare the probes of `app`, and the timer that watches its progress.

    `stall_after`: seconds of lag without progress until the worker counts as not alive.
    """
    progress = Progress(app, stall_after)
    line = Session(settings.postgres, settings.schema_)
    redis: Redis = Redis.from_url(settings.redis)
    is_bridge = app.conf.id.endswith("-bridge")
    asking = asyncio.Lock()  # the line has room for one

    async def ask_kafka() -> None:
        client = AIOKafkaClient(bootstrap_servers=settings.kafka, **client_options())
        try:
            await client.bootstrap()
        finally:
            await client.close()

    @app.timer(OBSERVE_EVERY)
    async def observe() -> None:
        progress.observe()
        # A worker that waits for a broker does what it should.
        if progress.unsettled() and not await _answers(ask_kafka):
            progress.excuse()

    @app.page(LIVE)
    async def livez(web: Any, _: Any) -> Any:
        stalled = progress.stalled()
        status = "stalled" if stalled else "alive"
        return _answer(web, not stalled, {"status": status, "stalled": stalled})

    @app.page(READY)
    async def readyz(web: Any, _: Any) -> Any:
        async with asking:
            answers = await asyncio.gather(
                _answers(lambda: _ask_postgres(line)),
                _answers(ask_kafka),
                _answers(redis.ping),
            )
        found = dict(zip(("postgres", "kafka", "redis"), answers, strict=True))
        # Nothing but the bridge waits for Redis.
        is_ready = all(found[server] for server in found if server != "redis" or is_bridge)
        return _answer(web, is_ready, {"status": "ready" if is_ready else "not ready", **found})

    @app.page(METRICS)
    async def metrics(web: Any, _: Any) -> Any:
        progress.observe()
        return web.bytes(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def close() -> None:
        await line.close()
        await redis.aclose()

    app.on_close(close)


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens at `port`; a second worker of this machine goes without probes."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((host, port))
        except OSError:
            log.warning("port_taken", host=host, port=port, remedy="set another, or 0 for none")
            return False
    return True


def _answer(web: Any, is_well: bool, document: dict[str, Any]) -> Any:
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return web.bytes(json.dumps(document).encode(), content_type="application/json", status=status)


async def _answers(ask: Callable[[], Awaitable[Any]]) -> bool:
    try:
        await asyncio.wait_for(ask(), READY_WITHIN)
    except Exception as error:
        if not is_transient(error):
            raise
        return False
    return True


async def _ask_postgres(line: Session) -> None:
    try:
        await (await line.get()).fetchval("select 1")
    except BaseException:
        line.terminate()
        raise
