"""The usual commands, folded by hand: inputs, outputs, moves of steps and stats of runs.

Rows and events are those of the product. Nothing is checked that the load does not need: no ids,
names, texts, numbers or depths.
"""

from datetime import datetime

import msgspec
from aiokafka import ConsumerRecord
from msgspec import UNSET, Raw, Struct, UnsetType

from execstream.storage.commit.write_set import Row, WriteSet, _RunChange, _StepChange
from execstream.streams.fold import keep_stats
from execstream.streams.outcomes import Applied
from execstream.streams.state import Run, Step
from execstream.streams.statuses import ALLOWED_FROM, FINAL, ExecutionStatus

Json = Raw | UnsetType
Event = tuple[bytes, bytes]  # key and value
APPLIED = Applied()
S = ExecutionStatus


class Usual(Struct, tag_field="type", kw_only=True, gc=False):
    """Fields of every command about a run."""

    id: str
    at: str
    user_id: str
    graph_exec_id: str
    v: int = 1


class AddInput(Usual, tag="node.input", kw_only=True, gc=False):
    node_id: str
    input_name: str
    input_data: Raw
    node_exec_id: str | UnsetType = UNSET


class AddOutput(Usual, tag="node.output", kw_only=True, gc=False):
    node_exec_id: str
    output_name: str
    output_data: Raw


class MoveStep(Usual, tag="node.update", kw_only=True, gc=False):
    node_exec_id: str
    status: ExecutionStatus
    stats: Json = UNSET
    execution_data: Json = UNSET


class AddStats(Usual, tag="graph.update", kw_only=True, gc=False):
    stats: Raw
    status: str | UnsetType = UNSET


AnyUsual = AddInput | AddOutput | MoveStep | AddStats
_decode = msgspec.json.Decoder(AnyUsual).decode


class UsualEvent(Struct, omit_defaults=True, gc=False):
    """The fields that events of usual commands have, in `streams.events.Event` too."""

    type: str
    at: datetime
    command_id: str
    source: tuple[int, int, int]
    seq: int
    graph_exec_id: str
    graph_id: str
    graph_version: int
    user_id: str
    node_exec_id: str | UnsetType = UNSET
    node_id: str | UnsetType = UNSET
    block_id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    data: Json = UNSET
    added_time: datetime | UnsetType = UNSET
    queued_time: datetime | UnsetType = UNSET
    started_time: datetime | UnsetType = UNSET
    ended_time: datetime | UnsetType = UNSET
    started_at: datetime | UnsetType | None = UNSET
    ended_at: datetime | UnsetType | None = UNSET
    was: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    stats: Json = UNSET
    execution_data: Json = UNSET


_encode = msgspec.json.Encoder().encode


class UsualWriteSet(WriteSet):
    """A write set that folds usual commands by hand."""

    def apply(self, run: Run, record: ConsumerRecord) -> Event | None:
        """Fold `record` on `run`; its event, or None when it is not usual after all."""
        try:
            command = _decode(record.value)
            at = datetime.fromisoformat(command.at)
        except ValueError:  # errors of msgspec are ValueErrors
            return None
        if run.user_id != command.user_id or command.v != 1 or run.is_deleted:
            return None
        if command.id in run.outcomes or (run.dry_run or run.trimmed_at):
            return None
        kind = command.__class__
        if kind is AddStats:
            event = self._add_stats(run, command, at, record)
        elif kind is MoveStep:
            event = self._move_step(run, command, at, record)
        else:
            event = self._add_value(run, command, at, record)
        if event is None:
            return None
        run.outcomes[command.id] = APPLIED
        run.updated_at = at
        return record.key, _encode(event)

    def _add_stats(
        self, run: Run, command: AddStats, at: datetime, record: ConsumerRecord
    ) -> UsualEvent | None:
        if command.status is not UNSET:
            return None
        kind, stats = "graph.updated", str(command.stats, "utf-8")
        self._change(run).stats = stats
        detail = f'{{"stats":{stats}}}'
        event = self._add(run, command, at, record, kind, (None, None, None, detail, None, None))
        event.stats = command.stats
        event.started_at, event.ended_at = run.started_at, run.ended_at
        return event

    def _add_value(
        self, run: Run, command: AddInput | AddOutput, at: datetime, record: ConsumerRecord
    ) -> UsualEvent | None:
        if isinstance(command, AddOutput):
            kind, name, data = "node.output_added", command.output_name, command.output_data
            step = run.steps.get(command.node_exec_id)
        else:
            kind, name, data = "node.input_added", command.input_name, command.input_data
            step = run.oldest_taking(command.node_id, name)
            if step is not None and command.node_exec_id is UNSET:
                step.pins.add(name)
            else:
                return None
        if step is None:
            return None
        text = str(data, "utf-8")
        self._change(run)
        event = self._add(run, command, at, record, kind, (step.id, name, text, None, None, None))
        _add_step(event, step)
        event.name, event.data = name, data
        return event

    def _move_step(
        self, run: Run, command: MoveStep, at: datetime, record: ConsumerRecord
    ) -> UsualEvent | None:
        step, to = run.steps.get(command.node_exec_id), command.status
        if step is None or step.status not in ALLOWED_FROM.get(to, ()):
            return None
        if to is S.QUEUED and command.execution_data is UNSET:
            return None
        self._change(run)
        change = self._steps.get((run.id, step.id))
        if change is None:
            change = self._steps[run.id, step.id] = _StepChange(step)
        parts = []
        if command.stats is not UNSET:
            change.stats = str(command.stats, "utf-8")
            parts.append(f'"stats":{change.stats}')
        if command.execution_data is not UNSET:
            change.execution_data = str(command.execution_data, "utf-8")
            parts.append(f'"execution_data":{change.execution_data}')
        detail = f"{{{','.join(parts)}}}"
        was, step.status = step.status, to
        _stamp(step, to, at)
        if to in FINAL or command.stats is not UNSET:
            keep_stats(run, step, None if to in FINAL else bytes(command.stats))  # type: ignore[arg-type] # it is set
        columns = (step.id, None, None, detail, was, to)
        event = self._add(run, command, at, record, "node.updated", columns)
        _add_step(event, step)
        _add_times(event, step)
        event.was, event.status = was, to
        event.stats, event.execution_data = command.stats, command.execution_data
        return event

    def _change(self, run: Run) -> _RunChange:
        change = self._runs.get(run.id)
        if change is None:
            change = self._runs[run.id] = _RunChange(run, run.created_at.date())
        return change

    def _add(
        self, run: Run, command: AnyUsual, at: datetime, record: ConsumerRecord, kind: str, row: Row
    ) -> UsualEvent:
        run.last_seq = seq = run.last_seq + 1
        place = (record.partition, record.offset, 0)
        day = self._runs[run.id].day
        head = (run.id, seq, day, at, command.id, kind)
        self.entries.append((*head, *row, *place))
        return UsualEvent(
            *(kind, at, command.id, place, seq, run.id),
            *(run.graph_id, run.graph_version, run.user_id),
        )


def _stamp(step: Step, to: ExecutionStatus, at: datetime) -> None:
    if to is S.QUEUED:
        step.queued_time = at
    elif to is S.RUNNING:
        step.started_time = at
    elif to in FINAL:
        step.ended_time = at


def _add_step(event: UsualEvent, step: Step) -> None:
    event.node_exec_id, event.node_id, event.block_id = step.id, step.node_id, step.block_id


def _add_times(event: UsualEvent, step: Step) -> None:
    event.added_time = step.added_time
    event.queued_time = step.queued_time or UNSET
    event.started_time = step.started_time or UNSET
    event.ended_time = step.ended_time or UNSET
