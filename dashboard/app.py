"""The application: routes, errors, headers, the page; and the services that live as long as it
does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from execstream import __version__
from execstream.config.identity import Identity
from execstream.config.settings import STRICT, Settings
from execstream.config.tasks import end
from execstream.dashboard.access import check_access
from execstream.dashboard.feed.feed import Feed
from execstream.dashboard.feed.journal_pages import CONNECTIONS as FEED_CONNECTIONS
from execstream.dashboard.known_tokens import KnownTokens
from execstream.dashboard.middleware import BoundedBodies, EveryAnswer, HeadRequests
from execstream.dashboard.openapi import PROBLEMS, describe
from execstream.dashboard.problems import register_handlers
from execstream.dashboard.quotas import MAX_LARGE, Quotas
from execstream.dashboard.reads.error_families import ErrorFamilies
from execstream.dashboard.reads.graph_figures import GraphReads
from execstream.dashboard.reads.live_blocks import LiveBlocks
from execstream.dashboard.reads.minute_figures import MinuteReads
from execstream.dashboard.reads.spans_of_totals import SpansOfTotals
from execstream.dashboard.reads.unusual_subjects import UnusualSubjects
from execstream.dashboard.routes import (
    alerts,
    audit,
    blocks,
    commands,
    health,
    live_stream,
    overview,
    problem_types,
    progress,
    quarantine,
    rejections,
    run_actions,
    runs,
    tokens,
)
from execstream.dashboard.services import CommandSender, Services
from execstream.kafka.cluster import Brokers
from execstream.kafka.security import client_options
from execstream.storage.connections import FEED, READ, connect, open_pool
from execstream.storage.schema.row_security import require_row_security

PAGE = (Path(__file__).parents[1] / "page").resolve()

PARTS = (
    run_actions,  # its path looks like that of a run
    *(runs, overview, problem_types, commands, blocks, alerts, rejections, quarantine),
    *(health, progress, live_stream, tokens, audit),
)

SMALLEST = 1024  # bytes of an answer that is compressed
LEVEL = 1  # of 9: 6 ms of CPU per MB; the others save little more

log = structlog.get_logger(__name__)


def build_app(
    settings: Settings, sender: CommandSender, failed: Callable[[], None] = lambda: None
) -> FastAPI:
    """The application; `failed` is called when it cannot continue and should be restarted."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.error("task.ended", task=task.get_name(), exc_info=task.exception())
            failed()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _opened(settings, sender, ended) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="execstream",
        version=__version__,
        description="Runs of agent graphs: reads, commands, and a live feed.",
        lifespan=lifespan,
        responses=PROBLEMS,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    routes = [route for part in PARTS for route in part.router.routes]
    check_access(routes)
    for part in PARTS:
        app.include_router(part.router)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    app.add_middleware(GZipMiddleware, minimum_size=SMALLEST, compresslevel=LEVEL)
    app.add_middleware(BoundedBodies)
    app.add_middleware(EveryAnswer)
    app.add_middleware(HeadRequests)
    register_handlers(app)
    describe(app, routes)
    return app


@asynccontextmanager
async def _opened(
    settings: Settings, sender: CommandSender, ended: Callable[[asyncio.Task[None]], None]
) -> AsyncIterator[Services]:
    db = await connect(settings.postgres, settings.schema_)
    if settings.tenancy == STRICT:
        await require_row_security(db, settings.schema_)
    texts = await open_pool(settings.postgres, settings.schema_, READ, size=MAX_LARGE)
    redis: Redis = Redis.from_url(settings.redis)
    lines = await open_pool(settings.postgres, settings.schema_, FEED, size=FEED_CONNECTIONS)
    feed = Feed(settings, db, lines, redis)
    brokers = Brokers(settings.kafka, client_options(), settings.topic_prefix)
    quotas = Quotas(settings.http_rate, settings.http_large)
    identity = Identity(settings, "server")
    known = KnownTokens(db, settings)
    await known.reload()
    if known.refuse_all:
        log.warning("http.closed", remedy="execstream tokens create")
    learning = asyncio.create_task(identity.learn())
    reloading = asyncio.create_task(known.keep_current(), name="tokens")
    for task in (feed.reading, reloading):
        task.add_done_callback(ended)
    try:
        yield Services(
            *(settings, db, texts, lines, redis, feed, sender, LiveBlocks(db), brokers, quotas),
            *(known, identity, UnusualSubjects(db), ErrorFamilies(db), GraphReads(db)),
            *(SpansOfTotals(db), MinuteReads(db)),
        )
    finally:
        await end(learning, reloading)
        await brokers.close()
        await feed.close()
        await redis.aclose()
        await lines.close()
        await texts.close()
        await db.close()
