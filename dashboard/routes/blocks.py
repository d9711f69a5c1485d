"""Routes of blocks and graphs: their names, and how often the steps of a block fail."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from execstream.config.identity import Installation
from execstream.dashboard.access import CurrentViewer, Read, ReadAll
from execstream.dashboard.problems import ProblemError, not_found
from execstream.dashboard.reads.block_steps import BlockStep, list_block_steps
from execstream.dashboard.reads.catalogue import Block, Graph, list_blocks, list_graphs
from execstream.dashboard.reads.graph_figures import GraphFigures, NodeFigures
from execstream.dashboard.reads.live_blocks import BlockError, LiveBlock
from execstream.dashboard.reads.tally_workers import PATIENCE, ask_tally_workers, tally_urls
from execstream.dashboard.responses import Cursor, Json, Limit, Listing, Time, listing, now
from execstream.dashboard.services import Served
from execstream.storage.reads.block_errors import get_block_error_stats
from execstream.streams.statuses import ExecutionStatus

router = APIRouter(prefix="/v1", tags=["blocks"])

LOOK_BACK = timedelta(days=1)


class OneLiveBlock(LiveBlock):
    """A block with its most frequent errors, the last 24 hours."""

    fingerprints: list[BlockError]


class BlockErrors(BaseModel):
    """The number of steps of a block that were added in `start` ≤ t < `end`, and of those that
    failed, whatever the reason; `error_rate` in percent.
    """

    block_id: str
    name: str | None
    start: datetime
    end: datetime
    total_executions: int
    failed_executions: int
    error_rate: float


@router.get("/blocks", response_model=Listing[Block], dependencies=[Read])
async def get_blocks(served: Served) -> Response:
    """Names and kinds of all blocks."""
    return listing(await list_blocks(served.db))


@router.get("/graphs", response_model=Listing[Graph], dependencies=[Read])
async def get_graphs(served: Served, viewer: CurrentViewer) -> Response:
    """Names of the graphs; a token bound to a user sees those that its runs are of."""
    return listing(await list_graphs(served.db, viewer.user_id))


class OneGraph(GraphFigures):
    """A graph with its nodes, the most failures first, 200 at most."""

    nodes: list[NodeFigures]


@router.get("/graphs/figures", response_model=Listing[GraphFigures], dependencies=[ReadAll])
async def get_graph_figures(served: Served) -> Response:
    """Graphs of which a run ended within 24 hours, by version."""
    return listing(await served.graphs.all())


@router.get("/graph", response_model=OneGraph, dependencies=[ReadAll])
async def get_graph(served: Served, graph_id: str) -> Response:
    """One of these with its nodes, of the last 7 days."""
    nodes = await served.graphs.nodes(graph_id)
    for graph in await served.graphs.all():
        if graph.graph_id == graph_id:
            return Json(OneGraph(**graph.model_dump(), nodes=nodes))
    if nodes:
        return Json(OneGraph(graph_id=graph_id, versions=[], minutes=[], nodes=nodes))
    raise not_found(f"graph {graph_id} of which a run has ended of late")


class LiveTable(BaseModel):
    """Totals held by the workers of the tally. `missing`: partitions that none of them reports, and
    that are not in the sums.
    """

    data: list[dict[str, Any]]
    missing: list[int]
    foreign: list[str]
    as_of: datetime
    installation: Installation
    version: str
    role: str


@router.get("/live/{table}", response_model=LiveTable, dependencies=[ReadAll])
async def get_live_table(served: Served, table: Literal["blocks", "nodes"]) -> Response:
    """The live tables of all workers of the tally, added up."""
    urls = tally_urls(served.settings)
    own = await served.identity.known(PATIENCE)
    sums = await ask_tally_workers(urls, table, own)
    return Json(LiveTable(**sums._asdict(), as_of=now(), **served.identity.members))


@router.get("/blocks/errors", response_model=Listing[BlockErrors], dependencies=[ReadAll])
async def get_block_errors(
    served: Served,
    start: Annotated[Time | None, Query(description="A day before `end`.")] = None,
    end: Annotated[Time | None, Query(description="The minute that is now.")] = None,
    min_executions: Annotated[int, Query(ge=1, lt=2**63)] = 10,
) -> Response:
    """Blocks with so many steps added in `start` ≤ t < `end`, the highest error rate first."""
    # Whole minutes are answered from totals.
    until = now().replace(second=0, microsecond=0) if end is None else end
    since = _day_before(until) if start is None else start
    names = {block.block_id: block.name for block in await list_blocks(served.db)}
    return listing(
        [
            BlockErrors(
                block_id=stats.block_id,
                name=names.get(stats.block_id),
                start=since,
                end=until,
                total_executions=stats.total_executions,
                failed_executions=stats.failed_executions,
                error_rate=stats.error_rate,
            )
            for stats in await get_block_error_stats(served.db, since, until, min_executions)
        ]
    )


def _day_before(end: datetime) -> datetime:
    try:
        return end - LOOK_BACK
    except OverflowError as error:
        message = "The day before it is before the year 1: pass `start`, too."
        wrong = {"in": "query", "name": "end", "message": message}
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "Wrong parameters: end.", errors=[wrong]
        ) from error


@router.get("/blocks/live", response_model=Listing[LiveBlock], dependencies=[ReadAll])
async def get_live_blocks(served: Served) -> Response:
    """Current figures of blocks of which a step has ended within two days."""
    return listing(await served.live_blocks.all())


# A path cannot hold every id: `.` and `..` lead elsewhere, and `live` and `errors` are routes of
# their own. So each route of one block has a second address, which can.
@router.get("/block", response_model=OneLiveBlock, dependencies=[ReadAll])
@router.get("/blocks/{block_id}", response_model=OneLiveBlock, dependencies=[ReadAll])
async def get_live_block(served: Served, block_id: str) -> Response:
    """Current figures of a block, with its errors."""
    for block in await served.live_blocks.all():
        if block.block_id == block_id:
            errors = await served.live_blocks.errors(block_id)
            return Json(OneLiveBlock(**block.model_dump(), fingerprints=errors))
    raise not_found(f"block {block_id} of which a step has ended of late")


@router.get("/block/steps", response_model=Listing[BlockStep], dependencies=[ReadAll])
@router.get("/blocks/{block_id}/steps", response_model=Listing[BlockStep], dependencies=[ReadAll])
async def get_block_steps(
    served: Served,
    block_id: str,
    status: ExecutionStatus | None = None,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Response:
    """Steps of a block that were added within a day, newest first."""
    return listing(*await list_block_steps(served.db, block_id, status, cursor, limit))
