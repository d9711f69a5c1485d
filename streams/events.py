"""Events: committed changes (`execution.events.v1`), published after their commit.

Each entry of a run's journal gives one event; refusals and key-values have events of their own
that carry no `seq`. Fields: `docs/contract.md`, section 3.
"""

from datetime import datetime

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from execstream.streams.commands import Command, RunCommand, SetKeyValue
from execstream.streams.journal import Entry, EntryType
from execstream.streams.outcomes import Refused, detail_json
from execstream.streams.shortening import shorten
from execstream.streams.state import Run
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.topics import EVENTS

Maybe = UnsetType  # absent from the wire


# (partition, offset, index) of the command: its (rebased) offset in its partition, and the number
# of the event among those of the command. Never decreasing in a partition of the topic, except that
# a stretch may appear again after a crash: drop events that are not greater than the last one seen.
Source = tuple[int, int, int]
SourceOffset = tuple[int, int]  # offset and index of a source in its partition

# (offset, index) before every event of a partition.
NOWHERE: SourceOffset = (-1, -1)


class Event(Struct, omit_defaults=True, kw_only=True):
    """The wire form. The contract lists the fields of each type; the rest are absent."""

    type: str
    at: datetime
    command_id: str
    source: Source
    # of a run
    seq: int | Maybe = UNSET
    graph_exec_id: str | Maybe = UNSET
    graph_id: str | Maybe = UNSET
    graph_version: int | Maybe = UNSET
    user_id: str | Maybe = UNSET
    dry_run: bool = False
    skewed: bool = False
    imported: str = ""  # one of `streams.imported.Imported`; empty for news
    # of a step
    node_exec_id: str | Maybe = UNSET
    node_id: str | Maybe = UNSET
    block_id: str | Maybe = UNSET
    added_time: datetime | Maybe = UNSET
    queued_time: datetime | Maybe = UNSET
    started_time: datetime | Maybe = UNSET
    ended_time: datetime | Maybe = UNSET
    # the changed fields
    was: ExecutionStatus | Maybe = UNSET
    status: ExecutionStatus | Maybe = UNSET
    stats: Raw | Maybe = UNSET
    execution_data: Raw | Maybe = UNSET
    name: str | Maybe = UNSET
    data: Raw | Maybe = UNSET
    inputs: Raw | Maybe = UNSET
    credential_inputs: Raw | Maybe = UNSET
    nodes_input_masks: Raw | Maybe = UNSET
    preset_id: str | Maybe = UNSET
    parent_graph_exec_id: str | Maybe = UNSET
    attributes: Raw | Maybe = UNSET
    started_at: datetime | None | Maybe = UNSET
    ended_at: datetime | None | Maybe = UNSET
    is_shared: bool | Maybe = UNSET
    shared_at: datetime | None | Maybe = UNSET
    hard: bool | Maybe = UNSET
    key: str | Maybe = UNSET
    # of a refusal
    command_type: str | Maybe = UNSET
    reason: str | Maybe = UNSET
    detail: Raw | Maybe = UNSET
    truncated: bool = False


# Room is left for the key, headers and Kafka's own framing.
MAX_EVENT_BYTES = EVENTS.max_message_bytes - 64 * 1024

_encode = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode


def encode_event(event: Event) -> bytes:
    """The wire form; an event too large for the topic is shortened and has `truncated`."""
    json = _encode(event)
    if len(json) <= MAX_EVENT_BYTES:
        return json
    event.truncated = True
    return shorten(_encode(event), MAX_EVENT_BYTES)


def run_event(run: Run, entry: Entry, source: Source) -> Event:
    """The event of `entry`, which must be the last one that `run` evolved by."""
    event = Event(
        type=entry.type,
        at=entry.at,
        command_id=entry.command_id,
        source=source,
        seq=entry.seq,
        graph_exec_id=run.id,
        graph_id=run.graph_id,
        graph_version=run.graph_version,
        user_id=run.user_id,
        dry_run=run.dry_run,
        was=UNSET if entry.was is None else entry.was,
        status=UNSET if entry.status is None else entry.status,
        skewed=entry.detail.skewed,
        imported=entry.detail.imported,
    )
    if entry.node_exec_id is not None:
        _add_step_fields(event, run, entry)
    else:
        _add_run_fields(event, run, entry)
    return event


def _add_step_fields(event: Event, run: Run, entry: Entry) -> None:
    step = run.steps[entry.node_exec_id or ""]
    event.node_exec_id = step.id
    event.node_id = step.node_id
    event.block_id = step.block_id
    if entry.data is not None:
        event.name = entry.name or UNSET
        event.data = entry.data
        return
    event.added_time = step.added_time
    event.queued_time = step.queued_time or UNSET
    event.started_time = step.started_time or UNSET
    event.ended_time = step.ended_time or UNSET
    event.stats = entry.detail.stats
    event.execution_data = entry.detail.execution_data


def _add_run_fields(event: Event, run: Run, entry: Entry) -> None:
    detail = entry.detail
    if entry.type is EntryType.GRAPH_UPDATED:
        event.stats = detail.stats
        event.started_at = run.started_at
        event.ended_at = run.ended_at
    elif entry.type is EntryType.GRAPH_CREATED:
        event.inputs = detail.inputs
        event.credential_inputs = detail.credential_inputs
        event.nodes_input_masks = detail.nodes_input_masks
        event.preset_id = detail.preset_id
        event.parent_graph_exec_id = detail.parent_graph_exec_id
        event.attributes = detail.attributes
    elif entry.type is EntryType.GRAPH_SHARED:
        event.is_shared = run.is_shared
        event.shared_at = run.shared_at
    else:
        event.hard = detail.hard


def refused_event(command: Command, refused: Refused, source: Source) -> Event:
    """Names the run, if the command is about one; a foreign owner learns nothing else of it."""
    return Event(
        type="command.refused",
        at=command.time,
        command_id=command.id,
        source=source,
        user_id=command.user_id,
        graph_exec_id=command.graph_exec_id if isinstance(command, RunCommand) else UNSET,
        command_type=command.type,
        reason=refused.reason,
        detail=Raw(detail_json(refused.detail)),
    )


def key_value_event(command: SetKeyValue, source: Source) -> Event:
    return Event(
        type="kv.changed",
        at=command.time,
        command_id=command.id,
        source=source,
        user_id=command.user_id,
        key=command.name,
        data=command.data,
        node_exec_id=command.node_exec_id,
    )
