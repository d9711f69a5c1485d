"""Runs as they were at an earlier moment: what `?as_of=` of the routes of runs asks for."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from execstream.dashboard.problems import not_found
from execstream.dashboard.reads.run_summaries import Run
from execstream.dashboard.responses import Json, Time, listing
from execstream.dashboard.services import Services
from execstream.storage.reads.as_of import (
    Past,
    find_past,
    get_graph_execution_as_of,
    list_steps_as_of,
)
from execstream.streams.moments import parse_moment
from execstream.streams.statuses import ExecutionStatus

AsOf = Annotated[
    str | None,
    Query(description="As it was then: a time, or the `seq` of the last entry to count."),
]
AsOfTime = Annotated[
    Time | None, Query(description="Runs there were at this time, as they were then.")
]


async def reached(served: Services, run: Run, as_of: str) -> Past:
    """How far the run had come; a problem if there was none."""
    past = await find_past(served.db, str(run.id), parse_moment(as_of))
    if past is None:
        raise not_found(f"run {run.id} as of {as_of}")
    return past


async def run_as_of(served: Services, past: Past, headers: dict[str, str]) -> Json:
    """The run with its steps, as it was."""
    found = await get_graph_execution_as_of(served.db, past.user_id, str(past.id), past.seq)
    if found is None:
        raise not_found(f"run {past.id}")
    return Json(found, headers=headers)


async def steps_as_of(
    served: Services,
    past: Past,
    node_id: str | None,
    statuses: Sequence[ExecutionStatus] | None,
    after: int,
    limit: int,
    *,
    with_values: bool,
) -> Json:
    """A page of the steps the run had, as they were."""
    steps, following = await list_steps_as_of(
        served.db, past, node_id, statuses, after, limit, with_values=with_values
    )
    return listing(steps, None if following is None else str(following))
