"""Errors as `application/problem+json` (RFC 9457): the fault, in a sentence, and no more.

They contain neither payloads nor error texts of servers.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import asyncpg
import structlog
from aiokafka.errors import KafkaError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from execstream.dashboard.error_codes import (
    BY_STATUS,
    NOT_YET_HAPPENED,
    UNREADABLE_ROW,
    ErrorCode,
)
from execstream.dashboard.feed.cursor import InvalidPosition
from execstream.dashboard.middleware import route_of
from execstream.storage.reads.read_errors import InvalidCursor, NotYetHappened, PastIsGone
from execstream.storage.unreadable_rows import UnreadableRow, note
from execstream.streams import exact_json
from execstream.streams.errors import NotDelivered, reason_of
from execstream.streams.moments import NoMoment

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {"Retry-After": "2"}  # seconds

log = structlog.get_logger(__name__)

_OF_THE_PAST: dict[type[Exception], HTTPStatus] = {
    NoMoment: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotYetHappened: HTTPStatus.NOT_FOUND,
    PastIsGone: HTTPStatus.GONE,
}


class Problem(BaseModel):
    """An error; `type` is the address of its kind. Some carry further members, which the route
    describes."""

    type: str
    title: str
    status: int
    detail: str | None = None


class ProblemError(Exception):
    """Raised by routes; `members` go into the problem beside its own."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        kind: ErrorCode | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.kind = kind
        self.members = members


def not_found(what: str) -> ProblemError:
    """One answer for a thing that does not exist, was deleted, or belongs to another user."""
    return ProblemError(HTTPStatus.NOT_FOUND, f"There is no {what}.")


def problem(
    status: int,
    detail: str | None,
    headers: dict[str, str] | None = None,
    kind: ErrorCode | None = None,
    **members: object,
) -> Response:
    """The response with a problem, of the kind of its status unless there is another `kind`."""
    kind = kind or BY_STATUS.get(status)
    type_ = kind.type if kind else "about:blank"  # by RFC 9457: no more than the status
    title = HTTPStatus(status).phrase
    problem_body = Problem(type=type_, title=title, status=status, detail=detail)
    body = exact_json.encode(problem_body.model_dump(exclude_none=True) | members)
    return Response(body, status, headers, MEDIA_TYPE)


def register_handlers(app: FastAPI) -> None:
    """Have every error of `app` answered as a problem."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    for kind in (InvalidCursor, InvalidPosition):
        app.add_exception_handler(kind, _bad_request)
    for wrong, status in _OF_THE_PAST.items():
        app.add_exception_handler(wrong, _telling(status))
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(UnreadableRow, _unreadable)
    app.add_exception_handler(asyncpg.DataError, _not_storable)
    for unavailable in (
        OSError,  # TimeoutError is one
        asyncpg.InterfaceError,
        asyncpg.PostgresConnectionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.OperatorInterventionError,
        KafkaError,
        NotDelivered,
    ):
        app.add_exception_handler(unavailable, _unavailable)
    app.add_exception_handler(Exception, _unforeseen)


async def _problem(_: Request, error: Any) -> Response:
    return problem(error.status, error.detail, error.headers, error.kind, **error.members)


async def _http(_: Request, error: Any) -> Response:
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else None
    return problem(error.status_code, detail, error.headers)


async def _invalid(_: Request, error: Any) -> Response:
    """Name the wrong parameters; their values are not repeated."""
    wrong = [
        {"in": where, "name": ".".join(map(str, path)), "message": one["msg"]}
        for one in error.errors()
        for where, *path in [one["loc"]]
    ]
    names = ", ".join(sorted({one["name"] for one in wrong}))
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Wrong parameters: {names}.", errors=wrong)


async def _bad_request(_: Request, error: Exception) -> Response:
    return problem(HTTPStatus.BAD_REQUEST, str(error))


def _telling(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def tell(_: Request, error: Exception) -> Response:
        kind = NOT_YET_HAPPENED if isinstance(error, NotYetHappened) else None
        return problem(status, str(error), kind=kind)

    return tell


async def _disconnected(_: Request, __: Exception) -> Response:
    """The answer is for the metrics alone: the client has gone."""
    return problem(HTTPStatus.BAD_REQUEST, "The body ended before it was complete.")


async def _not_storable(_: Request, __: Exception) -> Response:
    """A value such as U+0000 in a text, or a number beyond the range of Postgres."""
    return problem(HTTPStatus.BAD_REQUEST, "A parameter is nothing that can be looked for.")


async def _unavailable(_: Request, error: Exception) -> Response:
    log.warning("away", error=reason_of(error))
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "A server behind this one does not answer: try again.",
        RETRY_AFTER,
    )


async def _unreadable(_: Request, error: Any) -> Response:
    note(error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error), kind=UNREADABLE_ROW)


async def _unforeseen(request: Request, error: Exception) -> Response:
    # The route, not the path that was asked for: share tokens are part of that.
    log.error("unforeseen", route=route_of(request.scope), exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something unforeseen happened; it is logged.")
