"""Responses: JSON with exact numbers, lists with a cursor, and unchanged content."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from execstream.streams import exact_json

Item = TypeVar("Item")


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:  # the first hours east of Greenwich, the last ones west of it
        raise ValueError("it lies outside the years 1 to 9999 in UTC") from error


Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time that a parameter gives, with its zone; Python and Postgres can both hold it."""

PIECE = 64 * 1024  # bytes that are sent at a time

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


class Streamed(Response):
    """Parts that are sent as they are read; reading ends with the reader.

    Not Starlette's `StreamingResponse`: that cancels for good, so that a read of the database
    could not be given up in an orderly way.
    """

    media_type = "application/json"

    def __init__(self, parts: AsyncGenerator[bytes], headers: dict[str, str] | None = None) -> None:
        super().__init__(headers=headers)
        del self.headers["Content-Length"]
        self._parts = parts

    async def __call__(self, _: Connection, receive: Receive, send: Send) -> None:
        """Send parts until either side ends. Errors before the first part are raised."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.wait({sending, leaving})
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._parts) as parts:
            part = await anext(parts, b"")
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            while part:
                # This bounds the copies of the connection; streams share the parts themselves.
                for begin in range(0, len(part), PIECE):
                    piece = part[begin : begin + PIECE]
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                part = await anext(parts, b"")
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    """Return when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def listing(
    data: Sequence[object], next_cursor: str | None = None, as_of: datetime | None = None
) -> Json:
    """A page of a list, read just now or as of a time."""
    return Json({"data": data, "next_cursor": next_cursor, "as_of": as_of or now()})


def now() -> datetime:
    """The server's clock."""
    return datetime.now(UTC)


def unchanged(request: Request, etag: str) -> Response | None:
    """The answer to a client that has this version already."""
    known = [tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    return None
