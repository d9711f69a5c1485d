"""Outcomes of commands: every command has exactly one.

Refusals and dead letters are answers, not errors. Reasons and their order: `docs/contract.md`,
section 2.
"""

from enum import StrEnum
from typing import Any, final

import msgspec
from msgspec import Struct, field

from execstream.streams.text import clean_json, may_need_cleaning


class Refusal(StrEnum):
    """Why an understood command changes nothing."""

    ILLEGAL_TRANSITION = "illegal_transition"
    NOT_A_TARGET = "not_a_target"
    UNKNOWN_GRAPH_EXECUTION = "unknown_graph_execution"
    UNKNOWN_NODE_EXECUTION = "unknown_node_execution"
    ALREADY_EXISTS = "already_exists"
    WRONG_OWNER = "wrong_owner"
    MISSING_EXECUTION_DATA = "missing_execution_data"
    NOTHING_TO_CHANGE = "nothing_to_change"
    NOT_OPEN_FOR_INPUT = "not_open_for_input"
    INPUT_ALREADY_THERE = "input_already_there"
    SUPERSEDED = "superseded"
    DELETED = "deleted"


class DeadReason(StrEnum):
    """Why a record could not be understood or stored."""

    TOO_LARGE = "too_large"
    BATCH_TOO_LARGE = "batch_too_large"
    TOO_DEEP = "too_deep"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_FIELD = "invalid_field"
    KEY_MISMATCH = "key_mismatch"
    WRONG_PARTITION = "wrong_partition"
    NOT_STORABLE = "not_storable"
    QUARANTINED = "quarantined"
    RUN_QUARANTINED = "run_quarantined"


class QuarantineReason(StrEnum):
    """Why a record was set aside."""

    FAULT = "fault"  # applying it alone fails each time
    PARKED = "parked"  # an earlier record of its key is in quarantine
    COPY = "copy"  # from `quarantine retry`; its original is not the first, or fails again


class Applied(Struct, frozen=True, gc=False):
    """The command had its effect: entries `first` to `last` of its run (none for `kv.set`).

    `node_exec_id` is the step of the first entry; `skipped` is set for `node.update_many` only:
    the steps it did not move, with their status, or None for unknown ones.
    """

    first: int | None = None
    last: int | None = None
    node_exec_id: str | None = None
    updated: int | None = None
    skipped: dict[str, str | None] | None = None


class Duplicate(Struct, frozen=True):
    """This command was applied before; the reply repeats `first_outcome`."""

    first_outcome: Applied


class Refused(Struct, frozen=True):
    """The rules reject the command. `detail` is a JSON object that helps the sender."""

    reason: Refusal
    detail: dict[str, Any] = field(default_factory=dict)


@final
class Dead(Struct, frozen=True):
    """Could not be understood or stored. `detail` has a sentence as `message`."""

    reason: DeadReason
    detail: dict[str, Any] = field(default_factory=dict)


class Quarantined(Struct, frozen=True):
    """Set aside, to be retried or skipped by an operator. `detail` names the error, or the offset
    of the record that it waits behind."""

    reason: QuarantineReason
    detail: dict[str, Any] = field(default_factory=dict)


Outcome = Applied | Duplicate | Refused | Dead | Quarantined


def wrong_partition(expected: int, found: int) -> Dead:
    """Return the outcome of a command on partition `found` about a run of partition `expected`."""
    message = f"The run belongs to partition {expected}, and the command is on {found}"
    detail = {"message": message, "expected": expected, "found": found}
    return Dead(DeadReason.WRONG_PARTITION, detail)


def described(dead: Dead) -> str:
    """Return the sentence about a dead letter, with the path of the field it is about."""
    path = dead.detail.get("path")
    return f"{path}: {dead.detail['message']}" if path else str(dead.detail["message"])


def detail_json(detail: dict[str, Any]) -> bytes:
    """`detail` as JSON; it may quote text of the sender, so it is cleaned in the same way."""
    json = msgspec.json.encode(detail)
    return clean_json(json) if may_need_cleaning(json) else json


def reply(command_id: str, outcome: Outcome) -> dict[str, Any]:
    """The message for the channel a command named in `reply_to` (contract, section 4)."""
    message: dict[str, Any] = {
        "command_id": command_id,
        "outcome": type(outcome).__name__.lower(),
    }
    if isinstance(outcome, Refused | Dead | Quarantined):
        return message | {"reason": outcome.reason, "detail": outcome.detail}
    effect = outcome.first_outcome if isinstance(outcome, Duplicate) else outcome
    if effect.first is not None:
        message["seq"] = [effect.first, effect.last]
    if effect.node_exec_id is not None:
        message["node_exec_id"] = effect.node_exec_id
    if effect.skipped is not None:
        message |= {"updated": effect.updated, "detail": {"skipped": effect.skipped}}
    return message
