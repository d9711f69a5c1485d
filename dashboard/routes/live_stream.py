"""The route of the live feed."""

from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from execstream.dashboard.access import CurrentViewer, Read
from execstream.dashboard.feed.cursor import decode
from execstream.dashboard.feed.feed import Feed
from execstream.dashboard.openapi import stream_of
from execstream.dashboard.problems import ProblemError
from execstream.dashboard.responses import Streamed
from execstream.dashboard.routes.runs import visible_run
from execstream.dashboard.services import Served
from execstream.storage.log.reader import Scope

router = APIRouter(tags=["feed"])

MOST_STREAMS = 2_000


class EventStream(Streamed):
    """Server-sent events of a feed, which is counted among its streams while it lasts."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, frames: AsyncGenerator[bytes]) -> None:
        super().__init__(frames, {"X-Accel-Buffering": "no"})
        self._feed = feed

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Send frames until either side ends."""
        with self._feed.counted():
            await super().__call__(scope, receive, send)


@router.get(
    "/v1/stream",
    dependencies=[Read],
    response_class=StreamingResponse,  # described in openapi.json, and not used
    responses=stream_of("snapshot", "event", "alert", "heartbeat", "resync"),
)
async def get_stream(
    served: Served,
    viewer: CurrentViewer,
    user_id: str | None = None,
    graph_id: str | None = None,
    graph_exec_id: str | None = None,
    types: Annotated[
        Literal["graph"] | None, Query(description="Only events of runs, not of their steps.")
    ] = None,
    last_event_id: Annotated[str, Header(description="The last id that was received.")] = "",
) -> Response:
    """Live events: of a run, of all runs of a graph or user, or of all.

    Begins with a snapshot, or where the last event that was received left off, however long ago.
    """
    after = decode(last_event_id) if last_event_id else None
    if served.feed.open_streams >= MOST_STREAMS:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"{MOST_STREAMS} streams are open: come back later.",
            {"Retry-After": "10"},
        )
    run_id = None
    if graph_exec_id is not None:
        run_id = str((await visible_run(served, viewer, graph_exec_id)).id)
    own = viewer.restrict_to_own(user_id)
    # One reader reads for all streams, and not as the user of any: this bounds a user's stream.
    scope = Scope(viewer.bound_to or own, graph_id, run_id, types)
    frames = served.feed.frames(scope, after, viewer.caller, served.texts, served.lines)
    return EventStream(served.feed, frames)
