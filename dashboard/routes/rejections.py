"""Routes of rejections: refusals and dead letters, and redriving these."""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import CurrentViewer, Large, Operate, Read, ReadAll
from execstream.dashboard.auditing import record
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
from execstream.dashboard.services import Served, Services
from execstream.storage.access.audit_log import Act
from execstream.storage.log.dead_letters import Filter, count_letters, get_letter, put_back
from execstream.storage.log.outcomes import recorded_outcome
from execstream.storage.log.run_partitions import at_its_run
from execstream.streams.commands import Command
from execstream.streams.outcomes import DeadReason, Refusal, reply
from execstream.streams.redriving import Letter, NotKept, judge, redriven
from execstream.streams.topics import COMMANDS

router = APIRouter(prefix="/v1", tags=["troubles"])

MOST_LETTERS = 100  # of a request
PATIENCE = 10.0  # seconds for the outcomes of many
_LOOK_INTERVAL = 0.2  # seconds
_REDRIVE = "dead_letter.redrive"


@router.get("/refusals", response_model=Listing[RefusalItem], dependencies=[Read])
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
            *(served.db, viewer.restrict_to_own(user_id), graph_exec_id, reason, cursor, limit),
            is_own=viewer.user_id is not None,
        )
    )


@router.get("/dead-letters", response_model=Listing[DeadLetterItem], dependencies=[ReadAll])
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


class LetterCount(BaseModel):
    """The number of dead letters that a request is about."""

    letters: int


@router.get("/dead-letters/count", response_model=LetterCount, dependencies=[ReadAll])
async def count_dead_letters(
    served: Served,
    reason: DeadReason | None = None,
    since: Annotated[Time | None, Query(description="Received then or later.")] = None,
    until: Annotated[Time | None, Query(description="Received before.")] = None,
    redriven: bool | None = None,
) -> Response:
    """The number of records that could not be understood or stored."""
    wanted = Filter((), reason, since, until, redriven)
    return Json(LetterCount(letters=await count_letters(served.db, wanted)))


@router.get("/dead-letters/{dead_letter_id}", response_model=DeadLetter, dependencies=[ReadAll])
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
    """The new position of the record. `outcome` is `dead` if it is known to fail again, and of many
    at once the outcome of its command, as far as it came in time.
    """

    dead_letter_id: str
    partition: int
    offset: int
    command_id: str | None
    outcome: str


@router.post(
    "/dead-letters/redrive",
    response_model=Listing[RedrivenItem],
    dependencies=[Operate, JsonBody, Large],
)
async def redrive_dead_letters(
    served: Served,
    viewer: CurrentViewer,
    asked: Annotated[Redrive, Body()],
    reason: DeadReason | None = None,
    since: Annotated[Time | None, Query(description="Received then or later.")] = None,
    until: Annotated[Time | None, Query(description="Received before.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LETTERS)] = MOST_LETTERS,
) -> Response:
    """Put a page of these records, newest first, on their topic again, and wait for the outcomes of
    their commands. Those that were not kept, or were redriven before, are missing.
    """
    wanted = Filter((), reason, since, until, None if asked.again else False)
    page, following = await list_dead_letters(served.db, wanted, cursor, limit)
    done = [await _put_back_if_kept(served, one.id, asked.again) for one in page]
    outcomes = await asyncio.gather(*(_settled(served, *one) for some in done for one in some))
    acts = (Act(_REDRIVE, one.dead_letter_id, one.outcome) for one in outcomes)
    await record(served, viewer, *acts)
    return listing(outcomes, following)


@router.post(
    "/dead-letters/{dead_letter_id}/redrive",
    response_model=RedrivenItem,
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[Operate, JsonBody, Large],
)
async def redrive_dead_letter(
    served: Served, viewer: CurrentViewer, dead_letter_id: str, asked: Annotated[Redrive, Body()]
) -> Response:
    """Put the unchanged record on its topic again; 409 when that was done before, and when its
    value was too large to be kept.

    `Location` leads to the outcome of its command, when it is one.
    """
    if await get_letter(served.db, dead_letter_id) is None:
        raise not_found(f"dead letter {dead_letter_id}")
    try:
        done = await _put_back(served, dead_letter_id, asked.again)
    except NotKept as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from error
    if not done:
        raise ProblemError(
            HTTPStatus.CONFLICT, "It was redriven already; `again` redrives it once more."
        )
    await record(served, viewer, Act(_REDRIVE, dead_letter_id, "sent"))
    return _put(served.settings.max_command_bytes, *done[0])


_Done = tuple[Letter, tuple[int, int]]


async def _put_back(served: Services, letter_id: str, again: bool) -> list[_Done]:
    """Put one letter back, unless that was done before. Raises NotKept."""

    async def send(letter: Letter) -> tuple[int, int]:
        record = await at_its_run(served.db, redriven(letter, letter.value))
        sent = await served.sender.put(record)
        return sent.partition, sent.offset

    return await put_back(served.db, [letter_id], send, again=again)


async def _put_back_if_kept(served: Services, letter_id: str, again: bool) -> list[_Done]:
    try:
        return await _put_back(served, letter_id, again)
    except NotKept:
        return []


async def _settled(served: Services, letter: Letter, place: tuple[int, int]) -> RedrivenItem:
    """The letter with the outcome of its command, if that comes in time."""
    item, command = _item(served.settings.max_command_bytes, letter, place)
    topic = served.settings.topic_prefix + COMMANDS.name
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while command is not None and item.outcome == "pending":
                outcome = await recorded_outcome(served.db, command, topic, *place)
                if outcome is None:
                    await asyncio.sleep(_LOOK_INTERVAL)
                else:
                    item.outcome = reply(command.id, outcome)["outcome"]
    return item


def _item(
    max_bytes: int, letter: Letter, place: tuple[int, int]
) -> tuple[RedrivenItem, Command | None]:
    judged = judge(redriven(letter, letter.value), max_bytes)
    command = judged if isinstance(judged, Command) else None
    item = RedrivenItem(
        dead_letter_id=letter.id,
        partition=place[0],
        offset=place[1],
        command_id=command and command.id,
        outcome="dead" if command is None else "pending",
    )
    return item, command


def _put(max_bytes: int, letter: Letter, place: tuple[int, int]) -> Response:
    item, command = _item(max_bytes, letter, place)
    headers = {}
    if command is not None:
        headers["Location"] = outcome_location(command, *place)
    return Json(item, HTTPStatus.ACCEPTED, headers)
