"""Routes of runs: lists, one run, its steps, its children and its journal."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import asyncpg
import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import CurrentViewer, Large, Read, ReadAll, Viewer
from execstream.dashboard.as_of import AsOf, AsOfTime, reached
from execstream.dashboard.feed.journal_pages import Journal
from execstream.dashboard.openapi import EVENTS
from execstream.dashboard.problems import ProblemError, not_found
from execstream.dashboard.reads.catalogue import catalogue_position
from execstream.dashboard.reads.run_reasons import RunReason, list_run_reasons
from execstream.dashboard.reads.run_summaries import (
    Run,
    StatusCounts,
    count_by_status,
    find_run,
    find_steps,
)
from execstream.dashboard.reads.step_counts import StepCounts, count_steps
from execstream.dashboard.responses import (
    Cursor,
    Json,
    Limit,
    Listing,
    Streamed,
    listing,
    now,
    unchanged,
)
from execstream.dashboard.run_parameters import AskedRuns, filters_as_of
from execstream.dashboard.services import Served, Services
from execstream.dashboard.streamed import answers
from execstream.storage.models.graph_execution import (
    GraphExecutionMeta,
    GraphExecutionWithNodes,
)
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.reads.as_of import find_steps_as_of, runs_as_of
from execstream.storage.reads.read_errors import PastIsGone
from execstream.storage.reads.run_lists import CHILDREN, runs_page
from execstream.storage.story.evidence import TooManyRecords, gather
from execstream.storage.story.run_story import Line, run_story, summary
from execstream.streams.events import Event, encode_event
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.topics import COMMANDS

router = APIRouter(prefix="/v1/executions", tags=["runs"])

Statuses = Annotated[list[ExecutionStatus] | None, Query(description="May be repeated.")]
ALL_CHILDREN = 2**31  # a run may start any number
MOST_EXPLAINED = 20_000  # records of a run; with more the story would take too much memory


class StoryLine(BaseModel):
    """The effect of a command, or of several that are told together, in a sentence."""

    at: datetime
    outcome: str
    command_id: str | None
    text: str


class Explanation(BaseModel):
    """The state of a run, and a line for each command that came for it."""

    graph_exec_id: str
    summary: str
    lines: list[StoryLine]


@router.get("", response_model=Listing[GraphExecutionMeta], dependencies=[Read, Large])
async def list_runs(
    served: Served,
    asked: AskedRuns,
    status: Statuses = None,
    values: Annotated[bool, Query(description="With inputs.")] = True,
    as_of: AsOfTime = None,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Response:
    """Runs, newest first. Every page takes the same time, however deep."""
    filters = replace(asked, statuses=status)
    if as_of is None:
        statement, args = runs_page(filters, cursor, limit)
    else:
        past = filters_as_of(filters)
        statement, args = runs_as_of(as_of, **past, cursor=cursor, limit=limit)
    return _streamed(
        served,
        lambda connection: answers.runs(
            connection, statement, args, limit, as_of, with_values=values
        ),
    )


@router.get("/counts", response_model=StatusCounts, dependencies=[Read])
async def count_runs(served: Served, asked: AskedRuns) -> Response:
    """The number of runs in each status."""
    return Json(await count_by_status(served.db, asked))


@router.get("/step_counts", response_model=Listing[StepCounts], dependencies=[Read])
async def count_steps_of_runs(
    served: Served,
    viewer: CurrentViewer,
    graph_exec_id: Annotated[list[str], Query(max_length=250, description="May be repeated.")],
) -> Response:
    """The stored steps of some runs, counted. The counts in `stats` are the producer's."""
    own = viewer.restrict_to_own(None)
    return listing(await count_steps(served.db, graph_exec_id, own))


@router.get("/reasons", response_model=Listing[RunReason], dependencies=[Read])
async def get_reasons(
    served: Served,
    viewer: CurrentViewer,
    graph_exec_id: Annotated[list[str], Query(max_length=250, description="May be repeated.")],
) -> Response:
    """Why some runs failed; runs without a failed step are missing."""
    own = viewer.restrict_to_own(None)
    return listing(await list_run_reasons(served.db, graph_exec_id, own))


@router.get("/{graph_exec_id}", response_model=GraphExecutionWithNodes, dependencies=[Read, Large])
async def get_run(
    served: Served,
    viewer: CurrentViewer,
    request: Request,
    graph_exec_id: str,
    as_of: AsOf = None,
) -> Response:
    """One run with its steps and all their values, now or as of a moment."""
    run = await visible_run(served, viewer, graph_exec_id)
    past = None if as_of is None else await reached(served, run, as_of)
    last_seq = run.last_seq if past is None else past.seq
    # Inputs and outputs are those of blocks of certain kinds.
    kinds = await catalogue_position(served.db)
    etag = _etag(last_seq, kinds, "whole" if run.trimmed_at is None else "trimmed")
    if answer := unchanged(request, etag):
        return answer

    async def parts(connection: asyncpg.Connection) -> AsyncIterator[bytes]:
        found = await answers.run(connection, run.id, run.user_id, past)
        if found is None:
            raise not_found(f"run {graph_exec_id}")
        async for part in found:
            yield part

    return _streamed(served, parts, {"ETag": etag})


@router.get(
    "/{graph_exec_id}/nodes",
    response_model=Listing[NodeExecutionResult],
    dependencies=[Read, Large],
)
async def get_steps(
    served: Served,
    viewer: CurrentViewer,
    graph_exec_id: str,
    node_id: str | None = None,
    status: Statuses = None,
    values: Annotated[bool, Query(description="With inputs and outputs.")] = True,
    as_of: AsOf = None,
    cursor: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Limit = 25,
) -> Response:
    """Steps of a run, in the order in which they were created, now or as of a moment."""
    run = await visible_run(served, viewer, graph_exec_id)
    past = None if as_of is None else await reached(served, run, as_of)

    async def parts(connection: asyncpg.Connection) -> AsyncIterator[bytes]:
        if past is None:
            page, after = await find_steps(connection, run, node_id, status, cursor, limit)
            steps = answers.live_steps(run.id, run.day, page, with_values=values)
        else:
            page, after = await find_steps_as_of(connection, past, node_id, status, cursor, limit)
            steps = answers.past_steps(past, page, with_values=values)
        async for part in answers.steps(connection, steps, after):
            yield part

    return _streamed(served, parts)


@router.get(
    "/{graph_exec_id}/children",
    response_model=Listing[GraphExecutionMeta],
    dependencies=[Read, Large],
)
async def get_children(served: Served, viewer: CurrentViewer, graph_exec_id: str) -> Response:
    """Runs that this run started, newest first."""
    run = await visible_run(served, viewer, graph_exec_id)
    args = (run.id, run.user_id)
    return _streamed(
        served, lambda connection: answers.runs(connection, CHILDREN, args, ALL_CHILDREN)
    )


@router.get("/{graph_exec_id}/journal", responses=EVENTS, dependencies=[Read, Large])
async def get_journal(
    served: Served,
    viewer: CurrentViewer,
    request: Request,
    graph_exec_id: str,
    after: Annotated[int, Query(ge=0, lt=2**62, description="The last `seq` seen.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """The journal of a run, in order: events as subscribers get them.

    A page that is full never changes. 410 when retention has dropped the journal.
    """
    run = await visible_run(served, viewer, graph_exec_id)
    if run.trimmed_at is not None:
        raise PastIsGone(graph_exec_id, run.trimmed_at)
    etag = _etag(min(after + limit, run.last_seq))
    if answer := unchanged(request, etag):
        return answer
    journal = Journal(served.lines, served.settings.topic_prefix)
    events = await journal.entries(str(run.id), after, limit)
    body = msgspec.json.encode(
        {
            "data": [msgspec.Raw(encode_event(event)) for event in events],
            "next_cursor": _next(events, run),
            "as_of": now(),
        }
    )
    return Streamed(_whole(body), {"ETag": etag})


@router.get(
    "/{graph_exec_id}/explanation", response_model=Explanation, dependencies=[ReadAll, Large]
)
async def explain_run(served: Served, viewer: CurrentViewer, graph_exec_id: str) -> Response:
    """The story of a run, in sentences: applied, refused, dead and quarantined commands.

    422 for a run of more than 20,000 records, which `execstream explain` explains.
    """
    run = await visible_run(served, viewer, graph_exec_id)
    topic = served.settings.topic_prefix + COMMANDS.name
    try:
        evidence = await gather(served.db, topic, str(run.id), MOST_EXPLAINED)
    except TooManyRecords as error:
        remedy = f"Run `execstream explain {run.id}` instead."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error} {remedy}") from None
    lines = [_told(line) for line in run_story(evidence)]
    return Json(Explanation(graph_exec_id=str(run.id), summary=summary(evidence), lines=lines))


def _told(line: Line) -> StoryLine:
    return StoryLine(at=line.at, outcome=line.outcome, command_id=line.command_id, text=line.text)


async def _whole(body: bytes) -> AsyncGenerator[bytes]:
    yield body


def _streamed(
    served: Services,
    parts: Callable[[asyncpg.Connection], AsyncIterator[bytes]],
    headers: dict[str, str] | None = None,
) -> Streamed:
    return Streamed(answers.in_snapshot(served.texts, parts), headers)


async def visible_run(served: Services, viewer: Viewer, graph_exec_id: str) -> Run:
    """The run, if the viewer may see it."""
    run = await find_run(served.db, graph_exec_id)
    if run is None or viewer.user_id not in (None, run.user_id):
        raise not_found(f"run {graph_exec_id}")
    return run


def _next(events: list[Event], run: Run) -> str | None:
    """The beginning of the next page, which may have come into being meanwhile."""
    last = events[-1].seq if events else None
    return str(last) if last and last < run.last_seq else None


def _etag(*states: object) -> str:
    """An entity tag of these states: the last entry, and its other dependencies. Weak: `as_of` is
    of the moment.
    """
    return f'W/"{"-".join(map(str, states))}"'
