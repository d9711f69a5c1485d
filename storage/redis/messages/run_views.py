"""The runs of recent events, and the message that each event becomes.

Pure: no Kafka, Postgres or Redis. Views are a cache, bounded in bytes; one is used only when its
last event is exactly the one before the event at hand, so nothing has to be handed over when
partitions move.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import cast

from msgspec import UNSET

from execstream.storage.log.run_history import Head
from execstream.storage.redis.channels import MAX_MESSAGE_BYTES, encode_update, execution_channel
from execstream.storage.redis.messages.run_view import BlockTypes, RunView
from execstream.streams.events import Event

MAX_CACHE_BYTES = 48 * 1024 * 1024

# How much messages of a run may repeat: a constant for each event, and a multiple of its own bytes.
ALLOWED_EACH = 16 * 1024
ALLOWED_TIMES = 8
LEAST = 16 * 1024  # bytes of a message that are allowed always


class RunViews:
    """Least recently used runs go first. `block_types` may be replaced at any time.

    No run takes more than half of the cache: of one that would, values are shortened as if the
    message were too large. `replayed`: all messages are marked as published again.
    """

    def __init__(
        self,
        prefix: str = "",
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_cache_bytes: int = MAX_CACHE_BYTES,
        *,
        replayed: bool = False,
    ) -> None:
        self.block_types: BlockTypes = {}
        self.size = 0  # bytes, an estimate
        self._prefix = prefix
        self._max_message_bytes = max_message_bytes
        self._max_cache_bytes = max_cache_bytes
        self._replayed = replayed
        self._runs: OrderedDict[str, RunView] = OrderedDict()

    def channel_of(self, event: Event) -> str:
        """The channel of the run of `event`."""
        user_id, graph_id = cast(str, event.user_id), cast(str, event.graph_id)
        return execution_channel(self._prefix, user_id, graph_id, cast(str, event.graph_exec_id))

    def message_for(self, event: Event) -> tuple[str, bytes]:
        """The channel and the message of a run's `event`.

        When the state before the event is unknown (`lacks`), the message has only the fields of the
        event.
        """
        if self.lacks(event):
            self._put(RunView(event))
        view = self._evolve(event)
        update = view.update(event, self.block_types)
        update.replayed = self._replayed
        message = encode_update(update, self._max_message_bytes)
        view.allowance -= len(message)
        if view.allowance < 0 and len(message) > LEAST:
            message = self._with_less(view, event, view.allowance + len(message))
        return self.channel_of(event), message

    def _with_less(self, view: RunView, event: Event, allowed: int) -> bytes:
        before = view.size
        view.repeat_less(event, LEAST, self.block_types)
        self.size += view.size - before
        update = view.update(event, self.block_types)
        update.replayed = self._replayed
        view.allowance = 0
        return encode_update(update, max(allowed, LEAST))

    def lacks(self, event: Event) -> bool:
        """Return whether the state before `event` is unknown, so that earlier events are needed."""
        view = self._runs.get(cast(str, event.graph_exec_id))
        return view is None or view.last_seq + 1 != event.seq

    def missing(self, events: Iterable[Event]) -> dict[str, Event]:
        """The first of `events` of each run for which the state before it is unknown."""
        first: dict[str, Event] = {}
        for event in events:
            first.setdefault(cast(str, event.graph_exec_id), event)
        return {run_id: e for run_id, e in first.items() if e.seq != 1 and self.lacks(e)}

    def replay(self, event: Event) -> None:
        """Take an earlier event in, without a message. Each run's begin with its first."""
        if event.seq == 1:
            self._put(RunView(event))
        self._evolve(event)

    def resume(self, event: Event, head: Head | None) -> None:
        """Continue with `event` of a run of whose past no more than `head` is left."""
        self._put(RunView(event, head))

    def trim(self) -> None:
        """Forget runs until the rest fits; the last one used always stays."""
        while self.size > self._max_cache_bytes and len(self._runs) > 1:
            _, view = self._runs.popitem(last=False)
            self.size -= view.size

    def _put(self, view: RunView) -> None:
        if (known := self._runs.pop(view.id, None)) is not None:
            self.size -= known.size
        self._runs[view.id] = view
        self.size += view.size

    def _evolve(self, event: Event) -> RunView:
        run_id = cast(str, event.graph_exec_id)
        view = self._runs[run_id]
        before = view.size
        view.evolve(event)
        earned = ALLOWED_EACH + ALLOWED_TIMES * _payload_size(event)
        view.allowance = min(view.allowance + earned, self._max_message_bytes)
        view.shed(self._max_cache_bytes // 2, self.block_types, event.node_exec_id or None)
        self.size += view.size - before
        self._runs.move_to_end(run_id)
        return view


def _payload_size(event: Event) -> int:
    """Bytes of the values that `event` brings."""
    if event.data is not UNSET:
        return len(event.data)
    size = 0 if event.stats is UNSET else len(event.stats)
    if event.execution_data is not UNSET:
        size += len(event.execution_data)
    if event.seq == 1:
        for one in (event.inputs, event.credential_inputs, event.nodes_input_masks):
            size += 0 if one is UNSET else len(one)
    return size
