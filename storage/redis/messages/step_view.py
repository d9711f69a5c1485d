"""A step as its messages show it: everything it was given and everything it emitted."""

from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from msgspec import UNSET, Raw

from execstream.storage.models.stats import NodeExecutionStats
from execstream.storage.redis.messages.message_stats import read_stats
from execstream.streams.events import Event
from execstream.streams.shortening import KEPT_AT_EACH_END, ends, left_out, shorten
from execstream.streams.statuses import ExecutionStatus

MOST_VALUES = 2 * KEPT_AT_EACH_END  # of a list; beyond, the middle is left out
STEP_BYTES = 1_200  # what a step takes without its values
VALUE_BYTES = 150  # what a value takes beyond its JSON

_as_items = msgspec.json.Decoder(dict[str, Raw]).decode


class Values:
    """A list that keeps its first 50 and its last 50 values."""

    __slots__ = ("_kept", "missing")

    def __init__(self) -> None:
        self._kept: list[Raw] = []
        self.missing = 0

    def add(self, value: Raw) -> int:
        """Append `value`; how many bytes more are kept now."""
        kept = self._kept
        kept.append(value)
        if len(kept) <= MOST_VALUES:
            return len(value) + VALUE_BYTES
        self.missing += 1
        return len(value) - len(kept.pop(KEPT_AT_EACH_END))

    def shed(self, cap: int) -> int:
        """Shorten values to `cap` bytes; how many bytes that frees."""
        before = sum(map(len, self._kept))
        self._kept = [_shortened(value, cap) for value in self._kept]
        return before - sum(map(len, self._kept))

    def shown(self) -> list[Raw]:
        """What is kept, with a marker where something is missing."""
        if not self.missing:
            return self._kept
        return ends(self._kept, Raw(msgspec.json.encode(left_out(self.missing, "values"))))


@dataclass(slots=True)
class StepView:
    """`added_seq` orders the steps of a run. What the events did not tell is None."""

    node_exec_id: str
    node_id: str
    block_id: str
    added_seq: int
    status: ExecutionStatus | None = None
    add_time: datetime | None = None
    queue_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    inputs: dict[str, Raw] = field(default_factory=dict)
    execution_data: Raw | None = None
    outputs: dict[str, Values] = field(default_factory=dict)
    # What moderation put in the place of all inputs and outputs.
    cleared_inputs: dict[str, Raw] | None = None
    cleared_outputs: dict[str, list[Raw]] | None = None
    was_shed: bool = False

    def add_input(self, pin: str, value: Raw) -> int:
        """Take the value of an input pin; how many bytes more the step takes now."""
        self.inputs[pin] = value
        return len(value) + VALUE_BYTES

    def add_output(self, pin: str, value: Raw) -> int:
        """Append a value of an output pin; how many bytes more the step takes now."""
        values = self.outputs.get(pin)
        if values is None:
            values = self.outputs[pin] = Values()
        return values.add(value)

    def move(self, event: Event) -> int:
        """Take what `node.added` or `node.updated` tells; how many bytes more it takes now."""
        if event.status is not UNSET:
            self.status = event.status
        self.add_time = event.added_time or None
        self.queue_time = event.queued_time or None
        self.start_time = event.started_time or None
        self.end_time = event.ended_time or None
        if event.stats is not UNSET:
            self._clear(event.stats)
        if event.execution_data is UNSET:
            return 0
        before = 0 if self.execution_data is None else len(self.execution_data)
        self.execution_data = event.execution_data.copy()
        return len(self.execution_data) - before

    def shed(self, cap: int) -> int:
        """Shorten values to `cap` bytes each; how many bytes that frees."""
        freed = sum(values.shed(cap) for values in self.outputs.values())
        for pin, value in self.inputs.items():
            self.inputs[pin] = _shortened(value, cap)
            freed += len(value) - len(self.inputs[pin])
        if (data := self.execution_data) is not None:
            self.execution_data = _shortened(data, cap)
            freed += len(data) - len(self.execution_data)
        self.was_shed = self.was_shed or freed > 0
        return freed

    def count_values(self) -> int:
        """How many values are kept."""
        outputs = sum(len(values.shown()) for values in self.outputs.values())
        return 1 + len(self.inputs) + outputs

    def _clear(self, stats: Raw) -> None:
        self.cleared_inputs = self.cleared_outputs = None
        if b'"cleared_' not in bytes(stats):
            return
        known = read_stats(NodeExecutionStats, stats, node_exec_id=self.node_exec_id)
        if known is not None and known.cleared_inputs:
            self.cleared_inputs = {
                pin: _text(messages[-1])
                for pin, messages in known.cleared_inputs.items()
                if messages
            }
        if known is not None and known.cleared_outputs:
            self.cleared_outputs = {
                pin: [_text(message) for message in messages]
                for pin, messages in known.cleared_outputs.items()
            }

    @property
    def input_data(self) -> Raw | dict[str, Raw]:
        """What it runs on: the inputs it was given, unless its execution data replaced them."""
        if self.cleared_inputs is not None:
            return self.cleared_inputs
        return self.inputs if self.execution_data is None else self.execution_data

    @property
    def output_data(self) -> dict[str, list[Raw]]:
        """What it emitted, by pin."""
        if self.cleared_outputs is not None:
            return self.cleared_outputs
        return {pin: values.shown() for pin, values in self.outputs.items()}

    @property
    def is_shortened(self) -> bool:
        """Whether something is left out."""
        if self.was_shed:
            return True
        return self.cleared_outputs is None and any(v.missing for v in self.outputs.values())

    def input_items(self) -> dict[str, Raw]:
        """`input_data`, item by item."""
        data = self.input_data
        return data if isinstance(data, dict) else _as_items(data)


def _shortened(value: Raw, cap: int) -> Raw:
    return value if len(value) <= cap else Raw(shorten(bytes(value), cap))


def _text(message: str) -> Raw:
    return Raw(msgspec.json.encode(message))
