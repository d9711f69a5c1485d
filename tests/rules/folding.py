"""A run that is folded command by command, without any server."""

from typing import Any

import msgspec

from execstream.streams.commands import RunCommand
from execstream.streams.decoding import decode
from execstream.streams.fold import fold
from execstream.streams.journal import Entry
from execstream.streams.outcomes import Duplicate, Refused
from execstream.streams.state import Run, Step
from tests.orders import Order, Orders

Outcome = list[Entry] | Duplicate | Refused


class Folding:
    """One run, and all its entries."""

    def __init__(self) -> None:
        self.orders = Orders()
        self.run: Run | None = None
        self.journal: list[Entry] = []

    def apply(self, *orders: Order) -> Outcome:
        """The outcome of the last of them."""
        for order in orders:
            command = decode(order.key, order.value)
            assert isinstance(command, RunCommand), command
            result = fold(self.run, command, 3)
            if isinstance(result, tuple):
                self.run, outcome = result
                self.journal += outcome
            else:
                outcome = result  # type: ignore[assignment]
        return outcome

    def step(self, name: str) -> Step:
        assert self.run is not None
        return self.run.steps[self.orders.named(name)]

    @property
    def state(self) -> Run:
        assert self.run is not None
        return self.run

    def facts(self) -> Any:
        return facts_of(self.run)


def facts_of(run: Run | None) -> Any:
    """The state that a rule may read, without fields that only speed up searches."""
    facts = msgspec.to_builtins(run) or {}
    return {name: fact for name, fact in facts.items() if not name.startswith("_")}
