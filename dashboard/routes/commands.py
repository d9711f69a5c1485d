"""Routes of commands: send one, and read its outcome."""

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
import structlog
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from execstream.dashboard.access import CurrentViewer, Read, Viewer, Write
from execstream.dashboard.auditing import record
from execstream.dashboard.bodies import read_body, require_json
from execstream.dashboard.error_codes import DEAD_LETTER, UNCONFIRMED
from execstream.dashboard.foreign_runs import shown_outcome
from execstream.dashboard.openapi import COMMAND_BODY
from execstream.dashboard.problems import RETRY_AFTER, ProblemError, not_found
from execstream.dashboard.responses import Json, now
from execstream.dashboard.services import Served, Services
from execstream.storage.access.audit_log import Act
from execstream.storage.log.outcomes import find_outcome, look_at
from execstream.storage.log.run_partitions import partition_for
from execstream.streams.commands import Command
from execstream.streams.decoding import decode, too_large
from execstream.streams.errors import NOT_READABLE, NotDelivered, OutcomeUnknown, reason_of
from execstream.streams.outcomes import Dead, DeadReason, described, reply
from execstream.streams.redriving import named_key
from execstream.streams.topics import COMMANDS

router = APIRouter(prefix="/v1", tags=["commands"])

MOST_PATIENCE = 30  # seconds
DELIVERY_PATIENCE = 10.0  # seconds for Kafka to take a command

log = structlog.get_logger(__name__)

_WAIT = re.compile(r"\bwait=(\d{1,9})\b")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class OutcomeModel(BaseModel):
    """The outcome of a command; `pending` while no worker has read it."""

    command_id: str
    outcome: str
    reason: str | None = None
    detail: dict[str, Any] | None = None
    seq: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    node_exec_id: str | None = None
    updated: int | None = None


async def _read(request: Request, served: Served, viewer: CurrentViewer) -> AsyncIterator[Command]:
    """The command of a request, judged as the worker will judge it."""
    require_json(request)
    most = served.settings.max_command_bytes
    refusal = _dead(too_large(None, most))
    async for body in read_body(request, viewer, most, refusal):
        value = _completed(body)
        judged = decode(named_key(value), value, most)
        if isinstance(judged, Dead):
            raise _dead(judged)
        if viewer.user_id not in (None, judged.user_id):
            raise not_found(f"user {judged.user_id}")
        yield judged


@router.post(
    "/commands",
    dependencies=[Write],
    response_model=OutcomeModel,
    responses={HTTPStatus.ACCEPTED: {"model": OutcomeModel, "description": "Kafka has it."}},
    openapi_extra=COMMAND_BODY,
)
async def post_command(
    served: Served,
    viewer: CurrentViewer,
    command: Annotated[Command, Depends(_read)],
    prefer: Annotated[str, Header(description="`wait=5`: seconds to wait for it.")] = "",
) -> Response:
    """Send a command. 202 when Kafka has it, or 200 with its outcome when that was waited for."""
    wait = _WAIT.search(prefer)
    try:
        if wait is not None and int(wait[1]) > 0:
            patience = min(int(wait[1]), MOST_PATIENCE)
            return await _waited_for(served, viewer, command, patience)
        partition = await partition_for(served.db, command)
        sent = await served.sender.send(command, DELIVERY_PATIENCE, partition=partition)
    except (NotDelivered, KafkaError) as error:
        raise _not_taken(command, error) from error
    await record(served, viewer, Act(command.type, command.key, "sent"))
    return _accepted(command, sent.partition, sent.offset, {})


_OUTCOME: dict[str, Any] = {
    "dependencies": [Read],
    "response_model": OutcomeModel,
    "responses": {HTTPStatus.ACCEPTED: {"model": OutcomeModel, "description": "Not yet known."}},
}


# A user may be called `.` or `..`, which no path can hold.
@router.get("/command", **_OUTCOME)
@router.get("/commands/{key}/{command_id}", **_OUTCOME)
async def get_outcome(
    served: Served,
    viewer: CurrentViewer,
    key: str,
    command_id: str,
    partition: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    offset: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> Response:
    """The outcome of a command. `key`: its run, or the user of a `kv.set`.

    With the position of the command on the topic, the answer distinguishes a command that no worker
    has read yet, and contains the reason of a dead letter.
    """
    recorded = await find_outcome(served.db, key, command_id)
    if recorded is not None and viewer.user_id in (None, recorded.user_id):
        outcome = recorded.outcome
        if viewer.user_id is not None:
            outcome = shown_outcome(outcome, recorded.command_type, key)
        return Json(reply(command_id, outcome))
    if recorded is None and partition is not None and offset is not None:
        topic = served.settings.topic_prefix + COMMANDS.name
        place = await look_at(served.db, topic, partition, offset)
        if place.dead is not None and viewer.user_id is None:  # its owner is not known
            return Json(reply(command_id, place.dead))
        if place.source is None:
            return _pending(command_id, {"Retry-After": "1"})
    raise not_found(f"outcome of command {command_id} of {key} so far")


async def _waited_for(
    served: Services, viewer: Viewer, command: Command, patience: int
) -> Response:
    headers = {"Preference-Applied": f"wait={patience}"}
    try:
        outcome = await served.sender.call(command, patience)
    except OutcomeUnknown as unknown:
        await record(served, viewer, Act(command.type, command.key, "sent"))
        return _accepted(command, *unknown.place, headers)
    await record(
        served, viewer, Act(command.type, command.key, reply(command.id, outcome)["outcome"])
    )
    if viewer.user_id is not None:
        outcome = shown_outcome(outcome, command.type, command.key)
    return Json(reply(command.id, outcome), headers=headers)


def _not_taken(command: Command, error: Exception) -> ProblemError:
    """Kafka is unavailable, or rejected the command; it may have taken it all the same."""
    log.warning("command_not_taken", error=reason_of(error))
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Kafka did not confirm the command: send it again with this id, and it counts once.",
        RETRY_AFTER,
        UNCONFIRMED,
        command_id=command.id,
    )


def _completed(body: bytes) -> bytes:
    """The command with `id` and `at` filled in; given values stay."""
    try:
        fields = _decode(body)
    except NOT_READABLE:
        return body
    return msgspec.json.encode({"id": str(uuid4()), "at": now(), **fields})


def _dead(dead: Dead) -> ProblemError:
    is_large = dead.reason is DeadReason.TOO_LARGE
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE if is_large else HTTPStatus.UNPROCESSABLE_ENTITY,
        f"This would become a dead letter, {dead.reason}: {described(dead)}. Nothing was sent.",
        kind=DEAD_LETTER,
        reason=dead.reason,
        found=dead.detail,
    )


def _accepted(command: Command, partition: int, offset: int, headers: dict[str, str]) -> Response:
    location = {"Location": outcome_location(command, partition, offset)}
    return _pending(command.id, headers | location)


def outcome_location(command: Command, partition: int, offset: int) -> str:
    """Return the address of the outcome of a command at that place of the topic."""
    place = {"partition": partition, "offset": offset}
    return f"/v1/command?{urlencode({'key': command.key, 'command_id': command.id, **place})}"


def _pending(command_id: str, headers: dict[str, str]) -> Response:
    return Json({"command_id": command_id, "outcome": "pending"}, HTTPStatus.ACCEPTED, headers)
