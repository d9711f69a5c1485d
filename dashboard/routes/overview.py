"""Routes of figures over all runs: unusual subjects, costs and errors."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import ReadAll
from execstream.dashboard.reads.error_families import ErrorFamily
from execstream.dashboard.reads.silent_groups import SilentGroup, list_silent_groups
from execstream.dashboard.reads.spans_of_totals import Costs, Errors, Spender
from execstream.dashboard.reads.unusual_subjects import Subjects
from execstream.dashboard.responses import Json, now
from execstream.dashboard.services import Served

router = APIRouter(prefix="/v1", tags=["operations"], dependencies=[ReadAll])


class Situation(BaseModel):
    """The hour from `start`, beside the day before it: subjects by their failures and by their
    cost, error families, new ones first, and silent runs.
    """

    start: datetime
    failing: Subjects
    spending: Subjects
    errors: list[ErrorFamily]
    silent: list[SilentGroup]
    as_of: datetime


@router.get("/now", response_model=Situation)
async def get_situation(served: Served) -> Response:
    """Everything that is not as usual, without open alerts, lag and hazards, which have routes of
    their own."""
    unusual = await served.unusual.now()
    errors = await served.errors.newest()
    silent = await list_silent_groups(served.db)
    situation = Situation(**unusual._asdict(), errors=errors, silent=silent, as_of=now())
    return Json(situation)


@router.get("/costs", response_model=Costs)
async def get_costs(
    served: Served,
    by: Spender,
    days: Annotated[int, Query(ge=1, le=31, description="Days of UTC, today among them.")] = 7,
) -> Response:
    """Costs as producers reported them, by user, graph, block or day, and in each by day. Those of
    users and days leave dry runs out."""
    return Json(await served.spans.costs(by, days))


@router.get("/errors", response_model=Errors)
async def get_errors(
    served: Served,
    hours: Annotated[
        int, Query(ge=1, le=168, description="Hours, the running one among them.")
    ] = 24,
) -> Response:
    """Failed steps by class of error, block and version of a graph, and in each by hour."""
    return Json(await served.spans.errors(hours))
