"""Codes of errors over HTTP: each problem's `type` is the address of one, at the same server."""

from http import HTTPStatus
from typing import NamedTuple

PATH = "/problems/"


class ErrorCode(NamedTuple):
    """A kind of error. `remedy` is the way out, for the caller."""

    code: str
    status: HTTPStatus
    meaning: str
    remedy: str

    @property
    def type(self) -> str:
        """The member `type` of problems of this kind."""
        return PATH + self.code


DEAD_LETTER = ErrorCode(
    "dead_letter",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The command would become a dead letter, so it was not sent; `reason` is that of the dead "
    "letter, and `found` its details. The status is 413 for `too_large`.",
    "Correct the command; `execstream check` finds the same faults before sending.",
)
NOT_YET_HAPPENED = ErrorCode(
    "not_yet_happened",
    HTTPStatus.NOT_FOUND,
    "The run did not exist at the moment that was asked for, or has fewer entries.",
    "Ask for a later moment, or for an entry up to the run's last.",
)
UNREADABLE_ROW = ErrorCode(
    "unreadable_row",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "A stored row of this run cannot be read. Other runs are not concerned.",
    "Have an operator run the `execstream verify` that `detail` names.",
)
UNCONFIRMED = ErrorCode(
    "unconfirmed",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Kafka did not confirm the command in time; it may have taken it. `command_id` is its id.",
    "Send it again with this id: it counts once.",
)

# The kind of a problem that names no other one.
BY_STATUS: dict[int, ErrorCode] = {
    one.status.value: one
    for one in (
        ErrorCode(
            "bad_request",
            HTTPStatus.BAD_REQUEST,
            "A cursor, stream position or parameter has no valid form, or the body is incomplete.",
            "Take cursors and positions from answers as they are; `detail` names the fault.",
        ),
        ErrorCode(
            "unauthorized",
            HTTPStatus.UNAUTHORIZED,
            "The request has no token, or one that the server does not know.",
            "Send `Authorization: Bearer TOKEN`.",
        ),
        ErrorCode(
            "forbidden",
            HTTPStatus.FORBIDDEN,
            "The token is known and lacks the scope of this route.",
            "Send a token with the scope that `detail` names.",
        ),
        ErrorCode(
            "not_found",
            HTTPStatus.NOT_FOUND,
            "The thing does not exist, was deleted, or belongs to a user whom this token does not "
            "show.",
            "Check the id, and `GET /v1/me` for the user that the token is bound to.",
        ),
        ErrorCode(
            "method_not_allowed",
            HTTPStatus.METHOD_NOT_ALLOWED,
            "The route exists with other methods.",
            "Use a method that `/openapi.json` has for it.",
        ),
        ErrorCode(
            "request_timeout",
            HTTPStatus.REQUEST_TIMEOUT,
            "Headers or body did not arrive in time.",
            "Send headers within 10 s and the body within 30 s.",
        ),
        ErrorCode(
            "conflict",
            HTTPStatus.CONFLICT,
            "The thing is in a state that does not permit this.",
            "Read it again; `detail` names the state.",
        ),
        ErrorCode(
            "past_is_gone",
            HTTPStatus.GONE,
            "Retention has dropped the journal of the run, and with it the run's past.",
            "Ask for the run as it is now, or keep the journal for longer.",
        ),
        ErrorCode(
            "body_too_large",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The body is larger than its route takes.",
            "Send less; the limit of commands is EXECSTREAM_MAX_COMMAND_BYTES.",
        ),
        ErrorCode(
            "unsupported_media_type",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The body is not sent as JSON.",
            "Send `Content-Type: application/json`.",
        ),
        ErrorCode(
            "foreign_host",
            HTTPStatus.MISDIRECTED_REQUEST,
            "A server without tokens was asked by another name than localhost, or by a proxy.",
            "Give the server a token.",
        ),
        ErrorCode(
            "invalid_parameters",
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Parameters have wrong values; `errors` names each with its fault.",
            "Correct them; `/openapi.json` has the type of each.",
        ),
        ErrorCode(
            "too_many_requests",
            HTTPStatus.TOO_MANY_REQUESTS,
            "The token has used its quota of requests.",
            "Wait for the seconds of `Retry-After`.",
        ),
        ErrorCode(
            "headers_too_large",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The headers have more than 100 lines or 16 KiB.",
            "Send fewer headers.",
        ),
        ErrorCode(
            "internal_error",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "A fault of the server, which has logged it.",
            "Read the log of the server, and report the fault.",
        ),
        ErrorCode(
            "unavailable",
            HTTPStatus.SERVICE_UNAVAILABLE,
            "A server behind this one does not answer, or this one is at one of its limits.",
            "Try again after the seconds of `Retry-After`.",
        ),
    )
}
ERROR_CODES = {
    one.code: one
    for one in (*BY_STATUS.values(), DEAD_LETTER, NOT_YET_HAPPENED, UNREADABLE_ROW, UNCONFIRMED)
}
