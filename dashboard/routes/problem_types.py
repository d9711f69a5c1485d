"""Routes of the types of problems: the meaning of each, and the way out."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import Public
from execstream.dashboard.error_codes import ERROR_CODES, PATH
from execstream.dashboard.problems import not_found
from execstream.dashboard.responses import Json

router = APIRouter()


class ProblemType(BaseModel):
    """A kind of problem: its code, its status, its meaning, and the way out."""

    code: str
    status: int
    meaning: str
    remedy: str


@router.get(PATH + "{code}", tags=["access"], response_model=ProblemType, dependencies=[Public])
async def get_problem_type(code: str) -> Response:
    """The meaning of a problem's `type`."""
    found = ERROR_CODES.get(code)
    if found is None:
        raise not_found("problem type of that code")
    return Json(ProblemType(**found._asdict()))
