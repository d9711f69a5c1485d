"""Routes of rejections: refusals and dead letters, and redriving these."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import CurrentViewer, Large, Operator
from execstream.dashboard.bodies import JsonBody
from execstream.dashboard.problems import ProblemError, not_found
from execstream.dashboard.reads.rejection_lists import (
    DeadLetter,
    DeadLetterItem,
    RefusalItem,
    get_dead_letter,
    list_dead_letters,
    list_refusals,
)
from execstream.dashboard.responses import Cursor, Json, Limit, Listing, Time, listing
from execstream.dashboard.routes.commands import outcome_location
from execstream.dashboard.services import Served
from execstream.storage.log.dead_letters import Filter, get_letter, put_back
from execstream.storage.log.run_partitions import at_its_run
from execstream.streams.commands import Command
from execstream.streams.outcomes import DeadReason, Refusal
from execstream.streams.redriving import Letter, NotKept, judge, redriven

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
            served.db, viewer.restrict_to_own(user_id), graph_exec_id, reason, cursor, limit
        )
    )


@router.get("/dead-letters", response_model=Listing[DeadLetterItem], dependencies=[Operator])
async def get_dead_letters(
    served: Served,
    reason: DeadReason | None = None,
    since: Annotated[Time | None, Query(description="Received then or later.")] = None,
    until: Annotated[Time | None, Query(description="Received before.")] = None,
    redriven: bool | None = None,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Response:
    """Records that could not be understood or stored, newest first."""
    wanted = Filter((), reason, since, until, redriven)
    return listing(*await list_dead_letters(served.db, wanted, cursor, limit))


@router.get("/dead-letters/{dead_letter_id}", response_model=DeadLetter, dependencies=[Operator])
async def get_one_dead_letter(served: Served, dead_letter_id: str) -> Response:
    """A dead letter with the beginning of its value."""
    found = await get_dead_letter(served.db, dead_letter_id)
    if found is None:
        raise not_found(f"dead letter {dead_letter_id}")
    return Json(found)


class Redrive(BaseModel):
    """`again`: even if it was redriven before."""

    again: bool = False


class RedrivenItem(BaseModel):
    """The new position of the record. `outcome` is `dead` if it is known to fail again."""

    dead_letter_id: str
    partition: int
    offset: int
    command_id: str | None
    outcome: str


@router.post(
    "/dead-letters/{dead_letter_id}/redrive",
    response_model=RedrivenItem,
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[Operator, JsonBody, Large],
)
async def redrive_dead_letter(
    served: Served, dead_letter_id: str, asked: Annotated[Redrive, Body()]
) -> Response:
    """Put the unchanged record on its topic again; 409 when that was done before, and when its
    value was too large to be kept.

    `Location` leads to the outcome of its command, when it is one.
    """
    letter = await get_letter(served.db, dead_letter_id)
    if letter is None:
        raise not_found(f"dead letter {dead_letter_id}")

    async def send(letter: Letter) -> tuple[int, int]:
        record = await at_its_run(served.db, redriven(letter, letter.value))
        sent = await served.sender.put(record)
        return sent.partition, sent.offset

    try:
        done = await put_back(served.db, [letter.id], send, again=asked.again)
    except NotKept as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from error
    if not done:
        raise ProblemError(
            HTTPStatus.CONFLICT, "It was redriven already; `again` redrives it once more."
        )
    return _put(served.settings.max_command_bytes, *done[0])


def _put(max_bytes: int, letter: Letter, place: tuple[int, int]) -> Response:
    judged = judge(redriven(letter, letter.value), max_bytes)
    command = judged if isinstance(judged, Command) else None
    partition, offset = place
    item = RedrivenItem(
        dead_letter_id=letter.id,
        partition=partition,
        offset=offset,
        command_id=command and command.id,
        outcome="dead" if command is None else "pending",
    )
    headers = {}
    if command is not None:
        headers["Location"] = outcome_location(command, partition, offset)
    return Json(item, HTTPStatus.ACCEPTED, headers)
