"""Routes of the quarantine: records that fail each time, and releasing them."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import CurrentViewer, Large, Operate, ReadAll
from execstream.dashboard.auditing import record
from execstream.dashboard.bodies import JsonBody
from execstream.dashboard.problems import not_found
from execstream.dashboard.responses import Json, Limit, Listing, listing
from execstream.dashboard.services import Served, Services
from execstream.storage.access.audit_log import Act
from execstream.storage.log.held_records import Held, copies_of, list_held, list_records
from execstream.streams.quarantine import Release
from execstream.streams.topics import COMMANDS

router = APIRouter(prefix="/v1", tags=["troubles"])

PAGE = 20  # records with values in memory
MOST_KEYS = 100_000


class HeldItem(BaseModel):
    """The first record of a run or user in quarantine. `waiting`: records behind it; `bytes`: of
    all of them."""

    partition: int
    offset: int
    key: str | None
    user_id: str | None
    command_id: str | None
    detail: dict[str, Any]
    received_at: datetime
    set_aside_at: datetime
    waiting: int
    bytes: int


class ReleaseBody(BaseModel):
    """The release of the first record; those behind it are applied."""

    action: Release


class ReleaseItem(BaseModel):
    """The number of copies on the commands topic, and the offset of the last one."""

    copies: int
    last_offset: int


@router.get("/quarantine", response_model=Listing[HeldItem], dependencies=[ReadAll])
async def get_quarantine(served: Served, limit: Limit = 25) -> Response:
    """Records in quarantine, by run or user, the oldest first."""
    return listing([_item(held) for held in await list_held(served.db, _topic(served), limit)])


@router.post(
    "/quarantine/{partition}/{offset}/release",
    response_model=ReleaseItem,
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[Operate, JsonBody, Large],
)
async def release(
    served: Served,
    viewer: CurrentViewer,
    partition: Annotated[int, Path(ge=0, lt=2**31)],
    offset: Annotated[int, Path(ge=-(2**63), lt=2**63)],
    asked: Annotated[ReleaseBody, Body()],
) -> Response:
    """Put copies of the records of a run or user on the topic, the first of which is there."""
    for held in await list_held(served.db, _topic(served), MOST_KEYS):
        if (held.partition, held.offset) == (partition, offset):
            item = await _release(served, held, asked.action)
            done = Act(f"quarantine.{asked.action}", f"{partition}/{offset}", f"{item.copies} sent")
            await record(served, viewer, done)
            return Json(item, HTTPStatus.ACCEPTED)
    raise not_found(f"first record of a key in quarantine at {partition}/{offset}")


async def _release(served: Services, held: Held, action: Release) -> ReleaseItem:
    copies, last, after = 0, -1, -1
    while page := await list_records(served.db, held, PAGE, values=True, after=after):
        for copy in copies_of(page, action):
            last = (await served.sender.put(copy)).offset
            copies += 1
        after, action = page[-1].offset, Release.RETRY
    return ReleaseItem(copies=copies, last_offset=last)


def _topic(served: Services) -> str:
    return served.settings.topic_prefix + COMMANDS.name


def _item(held: Held) -> HeldItem:
    key = None if held.key is None else held.key.decode(errors="replace")
    return HeldItem.model_validate(held._asdict() | {"key": key})
