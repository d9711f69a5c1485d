"""The rules: the effect of a command on a run in a given state.

`decide` returns the entries that follow, or the reason why there are none. It changes nothing,
reads no clock and draws no random number: times come from the command, derived ids from its id.
Where several reasons to refuse hold, it returns the first in the contract's order (section 2).
"""

from collections.abc import Callable
from hashlib import sha1
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from execstream.streams.commands import (
    AddNodeInput,
    AddNodeOutput,
    CreateGraph,
    DeleteGraph,
    RunCommand,
    ShareGraph,
    StartGraph,
    UpdateGraph,
    UpdateNode,
    UpdateNodes,
)
from execstream.streams.journal import NO_DETAIL, Detail, Entry, EntryType
from execstream.streams.outcomes import Duplicate, Refusal, Refused
from execstream.streams.state import Run, Step
from execstream.streams.statuses import (
    ALLOWED_FROM,
    ENDED,
    ExecutionStatus,
    Table,
    allowed_from,
    cascade_error,
    is_allowed,
)

Entries = list[Entry]

# By the first digit of the fourth group of an id: the same with the bits of RFC 9562's variant.
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_as_raw_values = msgspec.json.Decoder(dict[str, Raw]).decode


def decide(
    run: Run | None, command: RunCommand, table: Table = ALLOWED_FROM
) -> Entries | Duplicate | Refused:
    """Return the effect of `command` on `run` (None for a run that does not exist), when the moves
    of `table` are allowed.
    """
    kind = type(command)  # not isinstance, which asks the metaclass of structs and takes longer
    if kind is CreateGraph:
        return _create(run, cast(CreateGraph, command))
    if run is None:
        return Refused(Refusal.UNKNOWN_GRAPH_EXECUTION, {"graph_exec_id": command.graph_exec_id})
    if refused := _known_or_foreign(run, command):
        return refused
    if run.is_deleted and not _may_still_be_erased(run, command):
        return Refused(Refusal.DELETED)
    if move := _MOVES.get(kind):
        return move(run, command, table)
    return _RULES[kind](run, command)


def _known_or_foreign(run: Run, command: RunCommand) -> Duplicate | Refused | None:
    if run.user_id != command.user_id:
        return Refused(Refusal.WRONG_OWNER)
    if first_outcome := run.outcomes.get(command.id):
        return Duplicate(first_outcome)
    return None


def _may_still_be_erased(run: Run, command: RunCommand) -> bool:
    return isinstance(command, DeleteGraph) and bool(command.hard) and not run.is_erased


# ---- runs ----------------------------------------------------------------------------------


def _create(run: Run | None, command: CreateGraph) -> Entries | Duplicate | Refused:
    if run is not None:
        known = _known_or_foreign(run, command)
        return known or Refused(Refusal.ALREADY_EXISTS, {"graph_exec_id": run.id})
    entries = [_graph_created(command)]
    taken: set[str] = set()
    for index, node in enumerate(command.starting_nodes):
        step_id = node.node_exec_id or derived_id(command.id, f"starting/{index}")
        if step_id in taken:
            return Refused(Refusal.ALREADY_EXISTS, {"node_exec_id": step_id})
        taken.add(step_id)
        entries.append(
            Entry(
                seq=len(entries) + 1,
                type=EntryType.NODE_ADDED,
                at=command.time,
                command_id=command.id,
                node_exec_id=step_id,
                status=ExecutionStatus.QUEUED,
                detail=Detail(node_id=node.node_id, block_id=node.block_id),
            )
        )
        for pin, value in node.inputs.items():
            entries.append(_input_added(command, len(entries) + 1, step_id, pin, value))
    return entries


def _graph_created(command: CreateGraph) -> Entry:
    return Entry(
        seq=1,
        type=EntryType.GRAPH_CREATED,
        at=command.time,
        command_id=command.id,
        status=ExecutionStatus.INCOMPLETE,
        detail=Detail(
            user_id=command.user_id,
            graph_id=command.graph_id,
            graph_version=command.graph_version,
            inputs=command.inputs,
            credential_inputs=command.credential_inputs,
            nodes_input_masks=command.nodes_input_masks,
            preset_id=command.preset_id or UNSET,
            parent_graph_exec_id=command.parent_graph_exec_id or UNSET,
            dry_run=bool(command.dry_run),
            attributes=command.attributes,
        ),
    )


def _start(run: Run, command: StartGraph, table: Table) -> Entries | Refused:
    return _move_run(run, command, ExecutionStatus.RUNNING, UNSET, table, started=True)


def _update(run: Run, command: UpdateGraph, table: Table) -> Entries | Refused:
    if command.status is ExecutionStatus.INCOMPLETE:
        return _not_a_target(command.status)
    if command.status is not None:
        first_start = command.status is ExecutionStatus.RUNNING and run.started_at is None
        return _move_run(run, command, command.status, command.stats, table, started=first_start)
    if command.stats is UNSET:
        return Refused(Refusal.NOTHING_TO_CHANGE)
    return [_entry(run, command, EntryType.GRAPH_UPDATED, detail=Detail(stats=command.stats))]


def _move_run(
    run: Run,
    command: RunCommand,
    to: ExecutionStatus,
    stats: Raw | UnsetType,
    table: Table,
    *,
    started: bool,
) -> Entries | Refused:
    if not is_allowed(run.status, to, table):
        return _illegal(run.status, to, table)
    detail = Detail(stats=stats, started=started)
    moved = _entry(run, command, EntryType.GRAPH_UPDATED, was=run.status, status=to, detail=detail)
    return [moved, *(_cascade(run, command, to) if to in ENDED else ())]


def _cascade(run: Run, command: RunCommand, to: ExecutionStatus) -> Entries:
    """The end of a run fails the steps that were still RUNNING."""
    error = Raw(msgspec.json.encode(cascade_error(to)))
    return [
        _entry(
            run,
            command,
            EntryType.NODE_UPDATED,
            after=index,
            node_exec_id=step.id,
            was=step.status,
            status=ExecutionStatus.FAILED,
            detail=Detail(stats=_with_error(step.stats, error)),
        )
        for index, step in enumerate(run.running_steps(), start=1)
    ]


def _with_error(stats: bytes | None, error: Raw) -> Raw:
    """`stats` with its `error` replaced; all other values keep their very digits."""
    return Raw(msgspec.json.encode((_as_raw_values(stats) if stats else {}) | {"error": error}))


def _share(run: Run, command: ShareGraph) -> Entries:
    token_hash = (command.share_token_hash if command.is_shared else None) or UNSET
    detail = Detail(is_shared=command.is_shared, share_token_hash=token_hash)
    return [_entry(run, command, EntryType.GRAPH_SHARED, detail=detail)]


def _delete(run: Run, command: DeleteGraph) -> Entries:
    detail = Detail(hard=bool(command.hard))
    return [_entry(run, command, EntryType.GRAPH_DELETED, detail=detail)]


# ---- steps ---------------------------------------------------------------------------------


def _add_input(run: Run, command: AddNodeInput) -> Entries | Refused:
    pin = command.input_name
    if command.node_exec_id is not None:
        step = run.steps.get(command.node_exec_id)
        if step is None or step.node_id != command.node_id:
            return _unknown_step(command.node_exec_id)
        if step.status is not ExecutionStatus.INCOMPLETE:
            return Refused(Refusal.NOT_OPEN_FOR_INPUT, {"found": step.status})
        if pin in step.pins:
            return Refused(Refusal.INPUT_ALREADY_THERE, {"input_name": pin})
    else:
        step = run.oldest_taking(command.node_id, pin)
    if step is not None:
        return [_input_added(command, run.last_seq + 1, step.id, pin, command.input_data)]
    return _open_step(run, command)


def _open_step(run: Run, command: AddNodeInput) -> Entries | Refused:
    """No step waits for this pin: the value opens a new one."""
    step_id = command.new_node_exec_id or derived_id(command.id, "node")
    if step_id in run.steps:
        return Refused(Refusal.ALREADY_EXISTS, {"node_exec_id": step_id})
    added = _entry(
        run,
        command,
        EntryType.NODE_ADDED,
        node_exec_id=step_id,
        status=ExecutionStatus.INCOMPLETE,
        detail=Detail(node_id=command.node_id, block_id=command.block_id),
    )
    value = _input_added(command, run.last_seq + 2, step_id, command.input_name, command.input_data)
    return [added, value]


def _add_output(run: Run, command: AddNodeOutput) -> Entries | Refused:
    if command.node_exec_id not in run.steps:
        return _unknown_step(command.node_exec_id)
    return [
        _entry(
            run,
            command,
            EntryType.NODE_OUTPUT_ADDED,
            node_exec_id=command.node_exec_id,
            name=command.output_name,
            data=command.output_data,
        )
    ]


def _update_step(run: Run, command: UpdateNode, table: Table) -> Entries | Refused:
    to = command.status
    if to is ExecutionStatus.INCOMPLETE:
        return _not_a_target(to)
    if to is ExecutionStatus.QUEUED and command.execution_data is UNSET:
        return Refused(Refusal.MISSING_EXECUTION_DATA)
    step = run.steps.get(command.node_exec_id)
    if step is None:
        return _unknown_step(command.node_exec_id)
    if not is_allowed(step.status, to, table):
        return _illegal(step.status, to, table)
    detail = Detail(execution_data=command.execution_data, stats=command.stats)
    return [_step_moved(run, command, step, to, 0, detail)]


def _update_steps(run: Run, command: UpdateNodes, table: Table) -> Entries | Refused:
    to = command.status
    if to is ExecutionStatus.INCOMPLETE:
        return _not_a_target(to)
    if to is ExecutionStatus.QUEUED:
        return Refused(Refusal.MISSING_EXECUTION_DATA)
    known = {step_id: run.steps.get(step_id) for step_id in command.node_exec_ids}
    movable = [step for step in known.values() if step and is_allowed(step.status, to, table)]
    skipped: dict[str, str | None] = {
        step_id: step.status if step else None
        for step_id, step in known.items()
        if not (step and is_allowed(step.status, to, table))
    }
    if not any(known.values()):
        return Refused(Refusal.UNKNOWN_NODE_EXECUTION, {"skipped": skipped})
    if not movable:
        refused = _illegal(None, to, table)
        return Refused(refused.reason, refused.detail | {"skipped": skipped})
    return [
        _step_moved(
            run,
            command,
            step,
            to,
            index,
            Detail(stats=command.stats, skipped=UNSET if index else skipped),
        )
        for index, step in enumerate(movable)
    ]


def _step_moved(
    run: Run,
    command: RunCommand,
    step: Step,
    to: ExecutionStatus,
    after: int,
    detail: Detail,
) -> Entry:
    return _entry(
        run,
        command,
        EntryType.NODE_UPDATED,
        after=after,
        node_exec_id=step.id,
        was=step.status,
        status=to,
        detail=detail,
    )


# ---- common --------------------------------------------------------------------------------


def derived_id(command_id: str, name: str) -> str:
    """The id of a step or entry that the command did not name: the same whenever it is replayed."""
    digest = sha1(bytes.fromhex(command_id.replace("-", "")) + name.encode()).hexdigest()  # noqa: S324 - as uuid5 does it
    variant = _VARIANTS[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def _entry(
    run: Run,
    command: RunCommand,
    kind: EntryType,
    *,
    after: int = 0,
    node_exec_id: str | None = None,
    name: str | None = None,
    data: Raw | None = None,
    was: ExecutionStatus | None = None,
    status: ExecutionStatus | None = None,
    detail: Detail = NO_DETAIL,
) -> Entry:
    """An entry of `command`, `after` others of the same command."""
    return Entry(
        seq=run.last_seq + 1 + after,
        type=kind,
        at=command.time,
        command_id=command.id,
        node_exec_id=node_exec_id,
        name=name,
        data=data,
        was=was,
        status=status,
        detail=detail,
    )


def _input_added(command: RunCommand, seq: int, step_id: str, pin: str, value: Raw) -> Entry:
    return Entry(
        seq=seq,
        type=EntryType.NODE_INPUT_ADDED,
        at=command.time,
        command_id=command.id,
        node_exec_id=step_id,
        name=pin,
        data=value,
    )


def _illegal(found: ExecutionStatus | None, wanted: ExecutionStatus, table: Table) -> Refused:
    detail = {"found": found, "wanted": wanted, "allowed_from": allowed_from(wanted, table)}
    return Refused(Refusal.ILLEGAL_TRANSITION, detail)


def _not_a_target(wanted: ExecutionStatus) -> Refused:
    return Refused(Refusal.NOT_A_TARGET, {"wanted": wanted})


def _unknown_step(step_id: str) -> Refused:
    return Refused(Refusal.UNKNOWN_NODE_EXECUTION, {"node_exec_id": step_id})


# Those that ask the table, and the others.
_MOVES: dict[type[RunCommand], Callable[[Run, Any, Table], Entries | Refused]] = {
    StartGraph: _start,
    UpdateGraph: _update,
    UpdateNode: _update_step,
    UpdateNodes: _update_steps,
}
_RULES: dict[type[RunCommand], Callable[[Run, Any], Entries | Refused]] = {
    ShareGraph: _share,
    DeleteGraph: _delete,
    AddNodeInput: _add_input,
    AddNodeOutput: _add_output,
}
