"""Routes of health: diagnostics, progress, probes and metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from http import HTTPStatus

import asyncpg
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from redis.exceptions import RedisError
from starlette.responses import PlainTextResponse, Response

from execstream.config.identity import Installation
from execstream.dashboard import minute_metrics
from execstream.dashboard.access import AnyToken, CurrentViewer, Open, Public, ReadAll
from execstream.dashboard.metrics import BUILD, INSTALLATION, OPEN_ALERTS, POOL
from execstream.dashboard.problems import not_found
from execstream.dashboard.reads.minute_figures import MinuteReads
from execstream.dashboard.responses import Json, Streamed
from execstream.dashboard.services import Served
from execstream.dashboard.streamed import answers
from execstream.storage.access.http_tokens import TokenScope
from execstream.storage.connections import AWAY, IS_READ_ONLY, ReadOnly
from execstream.storage.models.shared import SharedExecutionResponse
from execstream.storage.models.summaries import ExecutionDiagnostics
from execstream.storage.reads.diagnostics import get_execution_diagnostics
from execstream.streams.errors import reason_of
from execstream.streams.totals.alert_rules import Kind, Severity

router = APIRouter()

READY_WITHIN = 2.0  # seconds


class Me(BaseModel):
    """The rights of the request's token; `user_id`: the only user whose runs it shows; `name`: null
    without a token."""

    user_id: str | None
    token_required: bool
    name: str | None
    scopes: list[TokenScope]


class Identified(BaseModel):
    """The installation that the process belongs to, the version of execstream, and its role."""

    installation: Installation
    version: str
    role: str


class Alive(Identified):
    """The process answers."""

    status: str


class Ready(Identified):
    """Readiness to serve requests. Without Redis the feed is slower, and that is all.

    `reasons`: the cause by server that cannot be used, or only read.
    """

    status: str
    postgres: bool
    redis: bool
    reasons: dict[str, str]


@router.get("/v1/me", tags=["access"], response_model=Me, dependencies=[AnyToken])
async def get_me(served: Served, viewer: CurrentViewer) -> Response:
    """The rights of the caller."""
    return Json(
        Me(
            user_id=viewer.user_id,
            token_required=served.tokens.are_required,
            name=viewer.token.name if served.tokens.are_required else None,
            scopes=sorted(viewer.token.scopes),
        )
    )


@router.get(
    "/v1/shared/{token}",
    tags=["access"],
    response_model=SharedExecutionResponse,
    dependencies=[Public],
)
async def get_shared(served: Served, token: str) -> Response:
    """The outputs of a shared run, for holders of its token."""

    async def parts(connection: asyncpg.Connection) -> AsyncIterator[bytes]:
        found = await answers.shared(connection, token)
        if found is None:
            raise not_found("shared run of that token")
        async for part in found:
            yield part

    return Streamed(answers.in_snapshot(served.texts, parts))


@router.get(
    "/v1/diagnostics",
    tags=["operations"],
    response_model=ExecutionDiagnostics,
    dependencies=[ReadAll],
)
async def get_diagnostics(served: Served) -> Response:
    """The state of all runs: live, stuck, and recently ended."""
    return Json(await get_execution_diagnostics(served.db))


@router.get("/livez", tags=["operations"], response_model=Alive, dependencies=[Open])
async def livez(served: Served) -> Response:
    """Liveness of the process, and its identity."""
    return Json(Alive(status="alive", **served.identity.members))


@router.get(
    "/readyz",
    tags=["operations"],
    dependencies=[Open],
    response_model=Ready,
    responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Ready, "description": "Not now."}},
)
async def readyz(served: Served) -> Response:
    """Readiness to serve requests."""
    postgres, read_only, redis = await asyncio.gather(
        _reason_of_failure(served.db.fetchval("select count(*) from consumer_offset")),
        _reason_of_failure(_ask_for_writes(served.db)),
        _reason_of_failure(served.redis.ping()),
    )
    reasons = {"postgres": postgres or read_only, "redis": redis}
    ready = Ready(
        status="not ready" if postgres else "ready",
        postgres=postgres is None,
        redis=redis is None,
        reasons={server: reason for server, reason in reasons.items() if reason},
        **served.identity.members,
    )
    return Json(ready, HTTPStatus.SERVICE_UNAVAILABLE if postgres else HTTPStatus.OK)


async def _ask_for_writes(db: asyncpg.Pool) -> None:
    if await db.fetchval(IS_READ_ONLY):
        raise ReadOnly


async def _reason_of_failure(question: Awaitable[object]) -> str | None:
    """Return why a server does not answer, or None if it does."""
    try:
        await asyncio.wait_for(question, READY_WITHIN)
    except (*AWAY, ReadOnly, RedisError) as error:
        return reason_of(error)
    return None


@router.get(
    "/metrics",
    tags=["operations"],
    dependencies=[ReadAll],
    response_class=PlainTextResponse,
)
async def get_metrics(served: Served) -> Response:
    """Metrics of the server, for Prometheus."""
    idle = served.db.get_idle_size()
    POOL.labels("idle").set(idle)
    INSTALLATION.info(served.identity.labels)
    BUILD.info(served.identity.build)
    POOL.labels("busy").set(served.db.get_size() - idle)
    await _show_open_alerts(served.db)
    await _show_minute(served.minute)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


_OPEN = "select kind, severity, count(*) from alert where closed_at is null group by 1, 2"


async def _show_open_alerts(db: asyncpg.Pool) -> None:
    """Set the gauge of alerts; while Postgres is unavailable it has no values."""
    try:
        rows = await asyncio.wait_for(db.fetch(_OPEN), READY_WITHIN)
    except AWAY:
        OPEN_ALERTS.clear()
        return
    counts = {(kind, severity): count for kind, severity, count in rows}
    for kind in Kind:
        for severity in Severity:
            OPEN_ALERTS.labels(kind, severity).set(counts.get((kind, severity), 0))


async def _show_minute(reads: MinuteReads) -> None:
    """Set the gauges of the newest settled minute; while Postgres is unavailable there are none."""
    try:
        figures = await asyncio.wait_for(reads.get(), READY_WITHIN)
    except AWAY:
        minute_metrics.clear()
        return
    minute_metrics.show(figures)
