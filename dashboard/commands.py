"""Routes of commands: send one, and learn what became of it."""

import re
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from dashboard.access import CurrentViewer, Viewer
from dashboard.answers import Json, now
from dashboard.problems import ProblemError, not_found
from dashboard.reads.outcomes import find_outcome, look_at
from dashboard.services import Sent, Served, Services
from streams.commands import Command, SetKeyValue, type_of
from streams.decoding import decode
from streams.errors import Transient
from streams.outcomes import Dead, DeadReason, reply

router = APIRouter(prefix="/v1/commands", tags=["commands"])

MOST_PATIENCE = 30  # seconds

_KEY_VALUE = type_of(SetKeyValue)
_WAIT = re.compile(r"\bwait=(\d{1,9})\b")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class OutcomeModel(BaseModel):
    """What became of a command; `pending` while nobody has come to it."""

    command_id: str
    outcome: str
    reason: str | None = None
    detail: dict[str, Any] | None = None
    seq: tuple[int, int] | None = None
    node_exec_id: str | None = None
    updated: int | None = None


_BODY = {
    "requestBody": {
        "required": True,
        "description": "A command of contract section 2; `id` and `at` may be left out.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "user_id"],
                    "properties": {
                        "type": {"type": "string"},
                        "id": {"type": "string", "format": "uuid"},
                        "at": {"type": "string", "format": "date-time"},
                        "user_id": {"type": "string"},
                        "graph_exec_id": {"type": "string", "format": "uuid"},
                    },
                    "additionalProperties": True,
                }
            }
        },
    }
}


@router.post(
    "",
    response_model=OutcomeModel,
    responses={HTTPStatus.ACCEPTED: {"model": OutcomeModel, "description": "Kafka has it."}},
    openapi_extra=_BODY,
)
async def post_command(
    served: Served,
    viewer: CurrentViewer,
    request: Request,
    prefer: Annotated[str, Header(description="`wait=5`: seconds to wait for it.")] = "",
) -> Response:
    """Send a command. 202 when Kafka has it, or 200 with its outcome when that was waited for."""
    command = await _read(request, served, viewer)
    wait = _WAIT.search(prefer)
    if wait is not None and int(wait[1]) > 0:
        patience = min(int(wait[1]), MOST_PATIENCE)
        headers = {"Preference-Applied": f"wait={patience}"}
        try:
            outcome = await served.sender.call(command, timeout=patience)
        except Transient:
            return _accepted(command, None, headers)
        return Json(reply(command.id, outcome), headers=headers)
    return _accepted(command, await served.sender.send(command), {})


@router.get(
    "/{key}/{command_id}",
    response_model=OutcomeModel,
    responses={HTTPStatus.ACCEPTED: {"model": OutcomeModel, "description": "Not yet known."}},
)
async def get_outcome(
    served: Served,
    viewer: CurrentViewer,
    key: str,
    command_id: str,
    partition: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    offset: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> Response:
    """What became of a command. `key`: its run, or the user of a `kv.set`.

    With its place on the topic it is told that nobody has come to it yet, and of a dead letter
    why it is one.
    """
    recorded = await find_outcome(served.db, key, command_id)
    if recorded is not None and viewer.user_id in (None, recorded.user_id):
        return Json(reply(command_id, recorded.outcome))
    if recorded is None and partition is not None and offset is not None:
        place = await look_at(served.db, served.config.topic_prefix, partition, offset)
        if place.dead is not None and viewer.user_id is None:  # whose it was is not known
            return Json(reply(command_id, place.dead))
        if not place.is_reached:
            return _pending(command_id, {"Retry-After": "1"})
    raise not_found(f"outcome of command {command_id} of {key} so far")


async def _read(request: Request, served: Services, viewer: Viewer) -> Command:
    """The command of a request, judged as the worker will judge it."""
    # What a foreign page could send without asking first is not taken.
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the command as application/json."
        )
    most = served.config.max_command_bytes
    fields = _completed(await _body(request, most))
    judged = decode(_key(fields), msgspec.json.encode(fields), most)
    if isinstance(judged, Dead):
        raise _dead(judged)
    if viewer.user_id not in (None, judged.user_id):
        raise not_found(f"user {judged.user_id}")
    return judged


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise _dead(Dead(DeadReason.TOO_LARGE, {"limit": most}))
    return bytes(body)


def _completed(body: bytes) -> dict[str, Any]:
    """The fields of a command, its payloads untouched; `id` and `at` are filled in."""
    try:
        fields = _decode(body)
    except msgspec.DecodeError:
        judged = decode(b"", body)
        reason = judged if isinstance(judged, Dead) else Dead(DeadReason.NOT_JSON)
        raise _dead(reason) from None
    return {"id": str(uuid4()), "at": now(), **fields}


def _key(fields: dict[str, Any]) -> bytes:
    """The record's key: the run or, of key-values, the user."""
    is_key_value = bytes(fields.get("type", b"")) == msgspec.json.encode(_KEY_VALUE)
    raw = fields.get("user_id" if is_key_value else "graph_exec_id", b'""')
    try:
        return msgspec.json.decode(raw, type=str).encode()
    except msgspec.DecodeError:
        return b""


def _dead(dead: Dead) -> ProblemError:
    is_large = dead.reason is DeadReason.TOO_LARGE
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE if is_large else HTTPStatus.UNPROCESSABLE_ENTITY,
        f"This would become a dead letter, {dead.reason}. Nothing was sent.",
        reason=dead.reason,
        found=dead.detail,
    )


def _accepted(command: Command, sent: Sent | None, headers: dict[str, str]) -> Response:
    location = f"/v1/commands/{quote(command.key, safe='')}/{command.id}"
    if sent is not None:
        location += f"?partition={sent.partition}&offset={sent.offset}"
    return _pending(command.id, headers | {"Location": location})


def _pending(command_id: str, headers: dict[str, str]) -> Response:
    return Json({"command_id": command_id, "outcome": "pending"}, HTTPStatus.ACCEPTED, headers)
