"""The route of the first view."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import ReadAll
from execstream.dashboard.reads.error_families import ErrorFamily
from execstream.dashboard.reads.silent_groups import SilentGroup, list_silent_groups
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
