"""Cache of run states between batches, which saves loading them.

Dropped as a whole when partitions are lost or a commit did not go as folded: the cached states are
valid only as long as everything folded is committed.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from execstream.streams.key_values import KeyValues
from execstream.streams.state import Run

# Bytes, measured on the simulated graphs; `Run.extra` comes on top.
_RUN, _STEP, _OUTCOME = 1_200, 900, 300
_KEY_VALUES = 50_000  # entries, of some 250 bytes each


@dataclass(slots=True)
class _Slot:
    run: Run
    batch: int  # the last batch that needs it
    bytes: int = 0


class RunCache:
    """Least recently needed first; `generation` changes whenever everything is dropped."""

    def __init__(self, limit: int) -> None:
        self.generation = 0
        self.bytes = 0
        self.key_values = KeyValues()
        self._limit = limit
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._latest = 0

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, run_id: str) -> Run | None:
        slot = self._slots.get(run_id)
        return slot.run if slot is not None else None

    def hold(self, run_ids: Iterable[str], batch: int) -> list[str]:
        """Keep these runs until `batch` is committed; those that are not here."""
        self._latest = batch
        missing = []
        for run_id in run_ids:
            if slot := self._slots.get(run_id):
                slot.batch = batch
                self._slots.move_to_end(run_id)
            else:
                missing.append(run_id)
        return missing

    def put(self, run: Run, batch: int) -> None:
        """Take in a run that `batch` needs, or weigh again one that it changed."""
        slot = self._slots.setdefault(run.id, _Slot(run, batch))
        size = _RUN + _STEP * len(run.steps) + _OUTCOME * len(run.outcomes) + run.extra
        self.bytes += size - slot.bytes
        slot.bytes = size

    @property
    def has_many_key_values(self) -> bool:
        """Return whether `trim` forgets them once everything is committed."""
        known = self.key_values
        return len(known.written) + len(known.applied) > _KEY_VALUES

    def clear(self) -> None:
        self.generation += 1
        self.bytes = 0
        self.key_values = KeyValues()
        self._slots.clear()

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Drop everything when the context fails: states may have evolved by half a batch."""
        try:
            yield
        except Exception:
            self.clear()
            raise

    def trim(self, committed: int) -> None:
        """Make room, but keep the states that batches after `committed` need."""
        while self.bytes > self._limit and self._slots:
            run_id, slot = next(iter(self._slots.items()))
            if slot.batch > committed:
                break
            del self._slots[run_id]
            self.bytes -= slot.bytes
        if self.has_many_key_values and committed >= self._latest:
            self.key_values = KeyValues()
