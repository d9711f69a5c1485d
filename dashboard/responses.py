"""Answers: JSON with exact numbers, lists with a cursor, and what has not changed since."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel
from starlette.responses import Response

from execstream.streams import exact_json

Item = TypeVar("Item")


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:  # the first hours east of Greenwich, the last ones west of it
        raise ValueError("it lies outside the years 1 to 9999 in UTC") from error


Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time that a parameter gives, with its zone; Python and Postgres can both hold it."""

Limit = Annotated[int, Query(ge=1, le=250, description="How many at most.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]


class Listing(BaseModel, Generic[Item]):
    """A page of a list; `as_of`: when it was read, or the time that was asked for. `next_cursor`
    is null on the last page."""

    data: list[Item]
    next_cursor: str | None
    as_of: datetime


class Json(Response):
    """A value, models among it, as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of it."""
        return exact_json.encode(content)


def listing(
    data: Sequence[object], next_cursor: str | None = None, as_of: datetime | None = None
) -> Json:
    """A page of a list, read just now or as of a time."""
    return Json({"data": data, "next_cursor": next_cursor, "as_of": as_of or now()})


def now() -> datetime:
    """The server's clock."""
    return datetime.now(UTC)


def unchanged(request: Request, etag: str) -> Response | None:
    """The answer to who has this version already."""
    known = [tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    return None
