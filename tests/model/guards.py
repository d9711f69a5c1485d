"""The guards of the protocol: what happens where one of them is left out, as the checker finds it.

`table` is the one in docs/architecture.md; `python -m tests.model` prints it, with the shortest
counterexample of each guard, and explores the whole model.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from tests.model import protocol, reading
from tests.model.explorer import Explored, explore
from tests.model.invariants import invariants, is_goal
from tests.model.mutants import FENCE, MUTANTS
from tests.model.source_mutants import SOURCE_MUTANTS


class Scope(NamedTuple):
    """How much of the protocol is explored."""

    log: tuple[int, ...]
    faults: int
    swaps: bool = False
    saves: bool = False

    def explore(self, off: str | None = None) -> Explored:
        """Explore the protocol without the guard `off`."""
        model = protocol.Protocol(self.log, off, swaps=self.swaps, saves=self.saves)
        initial = protocol.System(faults=self.faults)
        goal = partial(is_goal, self.log)
        return explore(initial, model.steps, invariants(self.log), goal, protocol.canonical)


def explore_reading(off: str | None = None) -> Explored:
    """Explore what lies between Kafka and a batch without the guard `off`."""
    steps = reading.Reading(off).steps
    return explore(reading.Reader(), steps, reading.invariants(), reading.is_goal, lambda r: r)


ONCE, RESENT = Scope((1, 2), 1), Scope((1, 1), 1)
TWO, SWAP = Scope((1, 2), 2), Scope((1, 2), 2, swaps=True)
SWAP_ALONE = Scope((1, 2), 1, swaps=True)
# Two commands, the first of them sent twice; a refused one and no command; a swap; saving.
WHOLE = (Scope((1, 2, 1), 2), Scope((0, -1), 2), SWAP, Scope((1,), 3, saves=True))


SIMULATION = "the simulation"


class Guard(NamedTuple):
    """A guard, and the scope in which its counterexample is found; None: that of `reading`."""

    name: str
    meaning: str
    scope: Scope | None = None


GUARDS = (
    Guard("epoch", "a commit moves the offset for the owner of the epoch only", ONCE),
    Guard("expected offset", "a commit moves the offset from where it is expected only", ONCE),
    Guard("one transaction", "offset and rows are written together", ONCE),
    Guard("claim order", "the statement that raises the epoch reads the position", ONCE),
    Guard("ids of commands", "an `id` that was applied before is a duplicate", RESENT),
    Guard("states dropped", "cached states go when the partition does", TWO),
    Guard("giving up", "a worker that is fenced off gives the partition up", SWAP_ALONE),
    Guard(
        "claiming anew", "a worker that is fenced off and still assigned claims again", SWAP_ALONE
    ),
    Guard("publishing after the commit", "events go out after the commit", ONCE),
    Guard("order of sends", "one batch of a partition at a time, in order", ONCE),
    Guard("end at a failed send", "a send that fails ends the process", ONCE),
    Guard(
        "acknowledged position",
        "the published position follows acknowledgements",
        ONCE,
    ),
    Guard("republishing", "a new owner publishes the events that its predecessors have not", ONCE),
    Guard("republishing first", "new events wait for republishing", ONCE),
    Guard("dropping repeats", "readers drop events that are not above the last source", ONCE),
    Guard("lock of the swap", "no commit comes between the catching up and the swap", SWAP_ALONE),
    Guard("catching up", "the rebuild ends exactly where the live schema does", SWAP_ALONE),
    Guard("epoch of the old schema", "a commit that waited for the lock is fenced off", SWAP_ALONE),
    Guard("epochs apart", "a claim that waited gets an epoch that no other owner has", SWAP),
    Guard("epoch of the new schema", "epochs continue above those of the live schema", SWAP),
    Guard("stamp", "records fetched before the last seek are dropped"),
    Guard("base", "a fetch that continued above the expected offset is not a hole"),
    Guard("seek back", "records lost on the way are fetched again"),
    Guard("trimming", "records read before are cut off"),
    Guard("check of holes", "a hole below the first record of the topic ends the worker"),
)
# Without these the invariants hold all the same: they save repeats, which readers drop.
THRIFTY = {
    "published position": Scope((1,), 2, saves=True),
    "position carried over": Scope((1,), 2, swaps=True, saves=True),
}


def found(guard: Guard) -> Explored:
    """What the checker finds without `guard`."""
    return guard.scope.explore(guard.name) if guard.scope else explore_reading(guard.name)


def killers(guard: Guard) -> list[str]:
    """What notices when the code is without `guard`: the simulation, and tests on servers."""
    simulated = [SIMULATION] if guard.name in (*MUTANTS, *FENCE) else []
    return simulated + [one.killer for one in SOURCE_MUTANTS if one.guard == guard.name]


def row(guard: Guard) -> str:
    """Guard, violated invariant, length of the counterexample, and what notices in the code."""
    violation = found(guard).violation
    name, steps = (violation.invariant, len(violation.trace)) if violation else ("nothing", 0)
    noticed = [
        one if one == SIMULATION else f"`{one.partition('::')[2]}`" for one in killers(guard)
    ]
    return f"| {guard.name} | {guard.meaning} | {name} | {steps} | {', '.join(noticed)} |"


HEAD = (
    "| guard | which means | without it | steps | and in the code noticed by |",
    "| --- | --- | --- | --: | --- |",
)


def table() -> Iterator[str]:
    """The rows of all guards, in Markdown."""
    yield from HEAD
    yield from map(row, GUARDS)
