"""A run as its messages show it: a fold of its events, with all its steps."""

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar, cast

import msgspec
from msgspec import UNSET, Raw

from execstream.storage.log.run_history import Head
from execstream.storage.models.blocks import WEBHOOKS
from execstream.storage.models.graph_execution import GraphExecutionMeta
from execstream.storage.models.stats import GraphExecutionStats
from execstream.storage.redis.channels import GraphUpdate, NodeUpdate
from execstream.storage.redis.messages.message_stats import read_stats
from execstream.storage.redis.messages.step_view import STEP_BYTES, SortKey, StepView, Values
from execstream.streams.events import Event
from execstream.streams.shortening import FLOOR, left_out, shorten
from execstream.streams.statuses import ExecutionStatus

MOST_STEPS = 1_000  # of an interface block; beyond, messages about the run leave the middle out
RUN_BYTES = 2_000  # the size of a run without its steps and values
SHED_TO = 1_024  # bytes that are left of a value when a run takes too much
NULL = Raw(b"null")

_as_items = msgspec.json.Decoder(dict[str, Raw]).decode
_as_text = msgspec.json.Decoder(str).decode

BlockTypes = Mapping[str, str]
"""Kinds of the blocks through which runs take something in or give it out, by `block_id`."""


class RunView:
    """One run before `event`, which must be its first unless `head` is all that is known of it."""

    def __init__(self, event: Event, head: Head | None = None) -> None:
        self.id = cast(str, event.graph_exec_id)
        self.user_id = cast(str, event.user_id)
        self.graph_id = cast(str, event.graph_id)
        self.graph_version = cast(int, event.graph_version)
        self.last_seq = cast(int, event.seq) - 1
        self.allowance = 0  # bytes that messages may still repeat
        self.status: ExecutionStatus | None = None
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.forget()
        if head is not None:
            self._begin_at(head)

    def forget(self) -> None:
        """Keep only the fields that outlive an erasure."""
        self.inputs: Raw | None = None
        self.credential_inputs: Raw | None = None
        self.nodes_input_masks: Raw | None = None
        self.preset_id: str | None = None
        self.is_shared = False
        self.stats: Raw | None = None
        self.steps: dict[str, StepView] = {}
        self.was_shed = False
        # By block, the steps that have begun, in the order in which readers see them.
        self._begun: dict[str, list[StepView]] = {}
        self.size = RUN_BYTES  # bytes of memory, an estimate
        self._enough = 0

    def _begin_at(self, head: Head) -> None:
        self.status = head.status
        self.started_at = head.started_at
        self.ended_at = head.ended_at
        self.inputs = self._keep(head.inputs)
        self.credential_inputs = self._keep(head.credential_inputs)
        self.nodes_input_masks = self._keep(head.nodes_input_masks)
        self.preset_id = head.preset_id
        self.is_shared = head.is_shared
        self.stats = self._read(head.stats)

    # ---- the fold --------------------------------------------------------------------------

    def evolve(self, event: Event) -> None:
        """Let `event`, the next of this run, take effect."""
        self._evolve[event.type](self, event)
        self.last_seq = cast(int, event.seq)

    def shed(self, most: int, block_types: BlockTypes, last_step: str | None) -> None:
        """Bring a run of more than `most` bytes down to half of it, by shortening values.

        The oldest steps go first, because later events rarely concern them; those of interface
        blocks, which every message about the run contains, and the step at hand go last.
        """
        if self.size <= max(most, self._enough):
            return
        steps = sorted(
            self.steps.values(),
            key=lambda step: (step.node_exec_id == last_step, step.block_id in block_types),
        )
        for step in steps:
            if self.size <= most // 2:
                break
            is_last = step.node_exec_id == last_step
            share = most // 2 // step.count_values() if is_last else 0
            self.size -= step.shed(max(share, SHED_TO))
        self._enough = 2 * self.size  # not again at once, when only steps are left, not values

    def repeat_less(self, event: Event, most: int, block_types: BlockTypes) -> None:
        """Shorten, for good, the content of the message for `event` to some `most` bytes."""
        if event.node_exec_id is not UNSET:
            step = self.steps[event.node_exec_id]
            self.size -= step.shed(max(most // step.count_values(), FLOOR))
            return
        steps, _ = self._interface_steps(block_types)
        values = 4 + sum(step.count_values() for step in steps)
        cap = max(most // values, FLOOR)
        self.size -= sum([step.shed(cap) for step in steps])
        for name in ("inputs", "credential_inputs", "nodes_input_masks", "stats"):
            value = getattr(self, name)
            if value is not None and len(value) > cap:
                setattr(self, name, Raw(shorten(bytes(value), cap)))
                self.was_shed = True

    def _created(self, event: Event) -> None:
        self.status = event.status or None
        self.inputs = self._keep(event.inputs)
        self.credential_inputs = self._keep(event.credential_inputs)
        self.nodes_input_masks = self._keep(event.nodes_input_masks)
        self.preset_id = event.preset_id or None

    def _updated(self, event: Event) -> None:
        if event.status is not UNSET:
            self.status = event.status
        self.started_at = event.started_at or None
        self.ended_at = event.ended_at or None
        if event.stats is not UNSET:
            self.stats = self._read(event.stats)

    def _shared(self, event: Event) -> None:
        self.is_shared = bool(event.is_shared)

    def _deleted(self, event: Event) -> None:
        if event.hard:
            self.forget()

    def _step_moved(self, event: Event) -> None:
        step = self._step(event)
        self.size += step.move(event)
        if step.sort_key != (sort_key := step.order_of_readers()):
            self._put_in_order(step, sort_key)

    def _put_in_order(self, step: StepView, sort_key: SortKey | None) -> None:
        begun = self._begun.setdefault(step.block_id, [])
        if step.sort_key is not None:
            del begun[bisect_left(begun, step.sort_key, key=_sort_key)]
        step.sort_key = sort_key
        if sort_key is not None:
            insort(begun, step, key=_sort_key)

    def _input_added(self, event: Event) -> None:
        data = cast(Raw, event.data).copy()
        step = self._step(event)
        self.size += step.add_input(cast(str, event.name), data)

    def _output_added(self, event: Event) -> None:
        data = cast(Raw, event.data).copy()
        step = self._step(event)
        self.size += step.add_output(cast(str, event.name), data)

    def _keep(self, payload: Raw | msgspec.UnsetType | None) -> Raw | None:
        if payload is UNSET or payload is None:
            return None
        # A copy, for `payload` would keep the whole record in memory.
        self.size += len(payload)
        return payload.copy()

    def _read(self, stored: Raw | None) -> Raw | None:
        if stored is None:
            return None
        stats = read_stats(GraphExecutionStats, stored, graph_exec_id=self.id)
        return None if stats is None else _in_readers_names(stats)

    def _step(self, event: Event) -> StepView:
        """The step of `event`; a new one changes `size`."""
        step_id = cast(str, event.node_exec_id)
        step = self.steps.get(step_id)
        if step is None:
            step = self.steps[step_id] = StepView(
                node_exec_id=step_id,
                node_id=cast(str, event.node_id),
                block_id=cast(str, event.block_id),
                added_seq=cast(int, event.seq),
            )
            self.size += STEP_BYTES
        return step

    _evolve: ClassVar[dict[str, Callable[["RunView", Event], None]]] = {
        "graph.created": _created,
        "graph.updated": _updated,
        "graph.shared": _shared,
        "graph.deleted": _deleted,
        "node.added": _step_moved,
        "node.input_added": _input_added,
        "node.output_added": _output_added,
        "node.updated": _step_moved,
    }

    # ---- content of messages ---------------------------------------------------------------

    def update(self, event: Event, block_types: BlockTypes) -> GraphUpdate | NodeUpdate:
        """The message for `event`, which this run evolved by just now."""
        if event.node_exec_id is UNSET:
            return self._graph_update(event, block_types)
        return self._node_update(event, self.steps[event.node_exec_id])

    def _node_update(self, event: Event, step: StepView) -> NodeUpdate:
        return NodeUpdate(
            user_id=self.user_id,
            graph_id=self.graph_id,
            graph_version=self.graph_version,
            graph_exec_id=self.id,
            node_exec_id=step.node_exec_id,
            node_id=step.node_id,
            block_id=step.block_id,
            status=step.status,
            input_data=step.input_data,
            output_data=step.output_data,
            add_time=step.add_time,
            queue_time=step.queue_time,
            start_time=step.start_time,
            end_time=step.end_time,
            seq=self.last_seq,
            command_id=event.command_id,
            source=event.source,
            truncated=step.is_shortened,
        )

    def _graph_update(self, event: Event, block_types: BlockTypes) -> GraphUpdate:
        steps, missing = self._interface_steps(block_types)
        outputs = _outputs(steps, block_types)
        shown = {name: values.shown() for name, values in outputs.items()}
        if missing:
            shown[left_out(missing, "steps")] = []
        return GraphUpdate(
            id=self.id,
            user_id=self.user_id,
            graph_id=self.graph_id,
            graph_version=self.graph_version,
            inputs=_inputs(self.inputs, steps, block_types),
            outputs=shown,
            credential_inputs=self.credential_inputs,
            nodes_input_masks=self.nodes_input_masks,
            preset_id=self.preset_id,
            status=self.status,
            started_at=self.started_at,
            ended_at=self.ended_at,
            is_shared=self.is_shared,
            stats=self.stats,
            seq=self.last_seq,
            command_id=event.command_id,
            source=event.source,
            truncated=missing > 0
            or self.was_shed
            or any(values.missing for values in outputs.values())
            or any(step.was_shed for step in steps),
        )

    def _interface_steps(self, block_types: BlockTypes) -> tuple[list[StepView], int]:
        """Steps of interface blocks that have begun, in the order in which readers see them: of
        each block the first and the last; and the number of those left out.
        """
        found: list[StepView] = []
        missing = 0
        for block_id in block_types:
            begun = self._begun.get(block_id, [])
            if len(begun) > MOST_STEPS:
                missing += len(begun) - MOST_STEPS
                begun = [*begun[: MOST_STEPS // 2], *begun[-MOST_STEPS // 2 :]]
            found += begun
        return sorted(found, key=_sort_key), missing


def _sort_key(step: StepView) -> SortKey:
    return cast(SortKey, step.sort_key)


def _inputs(
    stored: Raw | None, steps: list[StepView], block_types: BlockTypes
) -> Raw | dict[str, Raw]:
    """The stored inputs, else the inputs of the INPUT blocks; and the payload of a webhook."""
    inputs: dict[str, Raw] = {}
    payload: dict[str, Raw] = {}
    for step in steps:
        kind, items = block_types[step.block_id], step.input_items()
        if kind in WEBHOOKS and "payload" in items:
            payload["payload"] = items["payload"]
        elif kind == "INPUT" and (name := _name(items)) is not None:
            inputs[name] = items.get("value", NULL)
    if stored is None:
        return inputs | payload
    return _as_items(stored) | payload if payload else stored


def _outputs(steps: list[StepView], block_types: BlockTypes) -> dict[str, Values]:
    """The values that the OUTPUT blocks were given, by name."""
    outputs: dict[str, Values] = {}
    for step in steps:
        if block_types[step.block_id] == "OUTPUT":
            items = step.input_items()
            if (name := _name(items)) is not None:
                outputs.setdefault(name, Values()).add(items.get("value", NULL))
    return outputs


def _name(items: dict[str, Raw]) -> str | None:
    """None for a step that was never given the name of its value."""
    name = items.get("name", NULL)
    return _as_text(name) if bytes(name).startswith(b'"') else None


def _in_readers_names(stats: GraphExecutionStats) -> Raw:
    return Raw(GraphExecutionMeta.Stats.from_db(stats).model_dump_json().encode())
