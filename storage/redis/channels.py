"""Redis channels: their names, and the form of the messages on them.

Each event of a run is one message on the run's channel, with the whole state of the run or of the
step after it. Redis keeps none of it: a client that was not subscribed finds it in Postgres.
Fields: `docs/contract.md`, section 4.
"""

from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from execstream.streams.events import Source
from execstream.streams.outcomes import Outcome, reply
from execstream.streams.shortening import shorten
from execstream.streams.statuses import ExecutionStatus

MAX_MESSAGE_BYTES = 16 * 1024 * 1024

EXECUTION_EVENT = "execution_event"
_EXECUTION_REPLY = "execution_reply"
_EXECUTION_ALERT = "execution_alert"
_EXECUTION_PUBLISHED = "execution_published"


def execution_channel(prefix: str, user_id: str, graph_id: str, graph_exec_id: str) -> str:
    """The channel of a run; with `*` for an id, a pattern for PSUBSCRIBE.

    No id holds a character that patterns give a meaning to.
    """
    return f"{prefix}{EXECUTION_EVENT}/{user_id}/{graph_id}/{graph_exec_id}"


def reply_channel(prefix: str, reply_to: str) -> str:
    """The channel on which a command that names `reply_to` is answered."""
    return f"{prefix}{_EXECUTION_REPLY}/{reply_to}"


def alert_channel(prefix: str) -> str:
    """The channel of alerts."""
    return f"{prefix}{_EXECUTION_ALERT}"


def wake_up_channel(prefix: str) -> str:
    """The channel that gets one message per batch of events: the number of its events."""
    return f"{prefix}{_EXECUTION_PUBLISHED}"


class Update(Struct, omit_defaults=True, kw_only=True):
    """The fields of every message of a run's channel beside the state."""

    seq: int
    command_id: str
    source: Source
    truncated: bool = False  # something was left out, and a marker stands in its place
    replayed: bool = False  # published again


class GraphUpdate(
    Update, tag_field="event_type", tag="graph_execution_update", omit_defaults=True, kw_only=True
):
    """The state of a run after an event. `stats` are in the names readers know."""

    id: str
    user_id: str
    graph_id: str
    graph_version: int
    inputs: Raw | dict[str, Raw]
    outputs: dict[str, list[Raw]]
    credential_inputs: Raw | None
    nodes_input_masks: Raw | None
    preset_id: str | None
    status: ExecutionStatus | None
    started_at: datetime | None
    ended_at: datetime | None
    is_shared: bool
    stats: Raw | None


class NodeUpdate(
    Update, tag_field="event_type", tag="node_execution_update", omit_defaults=True, kw_only=True
):
    """The state of a step after an event."""

    user_id: str
    graph_id: str
    graph_version: int
    graph_exec_id: str
    node_exec_id: str
    node_id: str
    block_id: str
    status: ExecutionStatus | None
    input_data: Raw | dict[str, Raw]
    output_data: dict[str, list[Raw]]
    add_time: datetime | None
    queue_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None


class UpdateMessage(Struct):
    """A message of a run's channel."""

    payload: GraphUpdate | NodeUpdate


_encode = msgspec.json.Encoder().encode


def encode_update(update: GraphUpdate | NodeUpdate, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """The message for `update`. One over `max_bytes`, which is at least 4 KiB, is shortened."""
    message = _encode(UpdateMessage(update))
    if len(message) <= max_bytes:
        return message
    marked = msgspec.structs.replace(update, truncated=True)
    return shorten(_encode(UpdateMessage(marked)), max_bytes)


def encode_reply(command_id: str, outcome: Outcome) -> bytes:
    """The message for `reply_channel`: the outcome of the command."""
    return _encode(reply(command_id, outcome))
