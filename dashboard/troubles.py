"""Routes of what did not go through: refusals and dead letters."""

from fastapi import APIRouter
from starlette.responses import Response

from dashboard.access import CurrentViewer, Operator
from dashboard.answers import Cursor, Json, Limit, Listing, listing
from dashboard.problems import not_found
from dashboard.reads.troubles import (
    DeadLetter,
    DeadLetterItem,
    RefusalItem,
    get_dead_letter,
    list_dead_letters,
    list_refusals,
)
from dashboard.services import Served
from streams.outcomes import DeadReason, Refusal

router = APIRouter(prefix="/v1", tags=["troubles"])


@router.get("/refusals", response_model=Listing[RefusalItem])
async def get_refusals(
    served: Served,
    viewer: CurrentViewer,
    graph_exec_id: str | None = None,
    user_id: str | None = None,
    reason: Refusal | None = None,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Response:
    """Commands that the rules refused, newest first."""
    return listing(
        *await list_refusals(
            served.db, viewer.narrow(user_id), graph_exec_id, reason, cursor, limit
        )
    )


@router.get("/dead-letters", response_model=Listing[DeadLetterItem], dependencies=[Operator])
async def get_dead_letters(
    served: Served, reason: DeadReason | None = None, cursor: Cursor = None, limit: Limit = 25
) -> Response:
    """Records that could not be understood or stored, newest first."""
    return listing(*await list_dead_letters(served.db, reason, cursor, limit))


@router.get("/dead-letters/{dead_letter_id}", response_model=DeadLetter, dependencies=[Operator])
async def get_one_dead_letter(served: Served, dead_letter_id: str) -> Response:
    """A dead letter with the beginning of its value."""
    found = await get_dead_letter(served.db, dead_letter_id)
    if found is None:
        raise not_found(f"dead letter {dead_letter_id}")
    return Json(found)
