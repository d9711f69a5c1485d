"""A step as its messages show it: everything it was given and everything it emitted."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw

from execstream.storage.models.stats import NodeExecutionStats
from execstream.storage.redis.messages.message_stats import read_stats
from execstream.streams.events import Event
from execstream.streams.shortening import KEPT_AT_EACH_END, left_out, shorten
from execstream.streams.statuses import ExecutionStatus

MOST_VALUES = 2 * KEPT_AT_EACH_END  # of a pin; beyond, the middle is left out
MOST_PINS = 2 * KEPT_AT_EACH_END  # of the inputs, and of the outputs
MOST_OUTPUTS = 1_000  # values over all pins; beyond, each pin keeps fewer
_FEWER = MOST_OUTPUTS // MOST_PINS // 2  # of them, at each end
STEP_BYTES = 1_200  # the size of a step without its values
_NULL = Raw(b"null")
VALUE_BYTES = 150  # the size of a value beyond its JSON

SortKey = tuple[bool, datetime, int]
Kept = TypeVar("Kept")
Shown = TypeVar("Shown")

_as_items = msgspec.json.Decoder(dict[str, Raw]).decode


class Values:
    """A list that keeps its first and its last values, `ends` of each."""

    __slots__ = ("_ends", "_kept", "missing")

    def __init__(self, ends: int = KEPT_AT_EACH_END) -> None:
        self._ends = ends
        self._kept: list[Raw] = []
        self.missing = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, value: Raw) -> int:
        """Append `value`; return the growth in bytes."""
        kept = self._kept
        kept.append(value)
        if len(kept) <= 2 * self._ends:
            return len(value) + VALUE_BYTES
        self.missing += 1
        return len(value) - len(kept.pop(self._ends))

    def keep(self, ends: int) -> int:
        """Keep fewer values from now on; return the bytes freed."""
        self._ends = ends
        between = slice(ends, max(len(self._kept) - ends, ends))
        dropped = self._kept[between]
        del self._kept[between]
        self.missing += len(dropped)
        return sum(map(len, dropped)) + VALUE_BYTES * len(dropped)

    def shed(self, cap: int) -> int:
        """Shorten values to `cap` bytes; return the bytes freed."""
        before = sum(map(len, self._kept))
        self._kept = [_shortened(value, cap) for value in self._kept]
        return before - sum(map(len, self._kept))

    def shown(self) -> list[Raw]:
        """The kept values, with a marker in place of missing ones."""
        if not self.missing:
            return self._kept
        marker = Raw(msgspec.json.encode(left_out(self.missing, "values")))
        return [*self._kept[: self._ends], marker, *self._kept[self._ends :]]


class Pins(dict[str, Kept]):
    """The kept values by pin, of the first and the last 50 pins."""

    missing = 0  # values of the pins between them

    def make_room(self) -> Kept | None:
        """Drop the pin that a new one displaces, and return its values."""
        if len(self) < MOST_PINS:
            return None
        return self.pop(next(itertools.islice(self, KEPT_AT_EACH_END, None)))

    def shown(self, show: Callable[[Kept], Shown], nothing: Shown) -> dict[str, Shown]:
        """The content of messages, with an item `nothing` where pins are missing."""
        items = [(pin, show(kept)) for pin, kept in self.items()]
        if self.missing:
            items.insert(KEPT_AT_EACH_END, (left_out(self.missing, "values"), nothing))
        return dict(items)


@dataclass(slots=True)
class StepView:
    """`added_seq` orders the steps of a run. Fields that the events did not have are None."""

    node_exec_id: str
    node_id: str
    block_id: str
    added_seq: int
    status: ExecutionStatus | None = None
    add_time: datetime | None = None
    queue_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    inputs: Pins[Raw] = field(default_factory=Pins)
    execution_data: Raw | None = None
    outputs: Pins[Values] = field(default_factory=Pins)
    # The replacement of all inputs and outputs by moderation.
    cleared_inputs: dict[str, Raw] | None = None
    cleared_outputs: dict[str, list[Raw]] | None = None
    was_shed: bool = False
    sort_key: SortKey | None = None  # among the steps of the run, once it has begun
    _ends: int = KEPT_AT_EACH_END  # of the values of an output
    _kept: int = 0  # values of all outputs
    _items: dict[str, Raw] | None = None

    def add_input(self, pin: str, value: Raw) -> int:
        """Take the value of an input pin; return the growth in bytes."""
        self._items = None
        freed = 0
        if (dropped := self.inputs.make_room()) is not None:
            self.inputs.missing += 1
            freed = len(dropped) + VALUE_BYTES
        self.inputs[pin] = value
        return len(value) + VALUE_BYTES - freed

    def add_output(self, pin: str, value: Raw) -> int:
        """Append a value of an output pin; return the growth in bytes."""
        freed = 0
        values = self.outputs.get(pin)
        if values is None:
            if (dropped := self.outputs.make_room()) is not None:
                self._kept -= len(dropped)
                freed = dropped.keep(0)
                self.outputs.missing += dropped.missing
            values = self.outputs[pin] = Values(self._ends)
        self._kept -= len(values)
        added = values.add(value)
        self._kept += len(values)
        if self._kept > MOST_OUTPUTS:
            self._ends = _FEWER
            freed += sum([one.keep(_FEWER) for one in self.outputs.values()])
            self._kept = sum(map(len, self.outputs.values()))
        return added - freed

    def move(self, event: Event) -> int:
        """Apply `node.added` or `node.updated`; return the growth in bytes."""
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
        self._items = None
        before = 0 if self.execution_data is None else len(self.execution_data)
        self.execution_data = event.execution_data.copy()
        return len(self.execution_data) - before

    def order_of_readers(self) -> SortKey | None:
        """The sort key of readers among the steps of the run; None if the step has not begun."""
        if self.status is ExecutionStatus.INCOMPLETE or self.add_time is None:
            return None
        return (self.queue_time is None, self.queue_time or self.add_time, self.added_seq)

    def shed(self, cap: int) -> int:
        """Shorten values to `cap` bytes each; return the bytes freed."""
        self._items = None
        freed = sum(values.shed(cap) for values in self.outputs.values())
        for pin, value in self.inputs.items():
            self.inputs[pin] = _shortened(value, cap)
            freed += len(value) - len(self.inputs[pin])
        if (data := self.execution_data) is not None:
            self.execution_data = _shortened(data, cap)
            freed += len(data) - len(self.execution_data)
        self.was_shed = self.was_shed or freed > 0
        self._shed_cleared(cap)
        return freed

    def _shed_cleared(self, cap: int) -> None:
        if self.cleared_inputs is not None:
            self.cleared_inputs = {
                pin: _shortened(text, cap) for pin, text in self.cleared_inputs.items()
            }
        for texts in (self.cleared_outputs or {}).values():
            texts[:] = [_shortened(text, cap) for text in texts]

    def count_values(self) -> int:
        """The number of kept values."""
        outputs = sum(len(values.shown()) for values in self.outputs.values())
        return 1 + len(self.inputs) + outputs

    def _clear(self, stats: Raw) -> None:
        self.cleared_inputs = self.cleared_outputs = self._items = None
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
        """The data that it runs on: its inputs, unless its execution data replaced them."""
        if self.cleared_inputs is not None:
            return self.cleared_inputs
        if self.execution_data is not None:
            return self.execution_data
        return self.inputs.shown(_as_it_is, _NULL) if self.inputs.missing else self.inputs

    @property
    def output_data(self) -> dict[str, list[Raw]]:
        """Its outputs, by pin."""
        if self.cleared_outputs is not None:
            return self.cleared_outputs
        return self.outputs.shown(Values.shown, [])

    @property
    def is_shortened(self) -> bool:
        """Return whether values are left out."""
        if self.was_shed:
            return True
        if self.inputs.missing and self.execution_data is None and self.cleared_inputs is None:
            return True
        if self.cleared_outputs is not None:
            return False
        return self.outputs.missing > 0 or any(v.missing for v in self.outputs.values())

    def input_items(self) -> dict[str, Raw]:
        """`input_data`, item by item."""
        if self._items is None:
            data = self.input_data
            self._items = data if isinstance(data, dict) else _as_items(data)
        return self._items


def _as_it_is(value: Raw) -> Raw:
    return value


def _shortened(value: Raw, cap: int) -> Raw:
    return value if len(value) <= cap else Raw(shorten(bytes(value), cap))


def _text(message: str) -> Raw:
    return Raw(msgspec.json.encode(message))
