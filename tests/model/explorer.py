"""Breadth-first exploration of a model: shortest counterexamples, and liveness.

A model is an initial state and a function from a state to its steps. States are tuples, hence
hashable. Steps that are faults (a crash, a lost answer) are bounded by the model itself.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Step(Generic[State]):
    """One action: its label, and the state after it."""

    label: str
    after: State
    is_fault: bool = False


class Violation(NamedTuple):
    """The invariant that does not hold after `trace`, a shortest one."""

    invariant: str
    trace: tuple[str, ...]


class Explored(NamedTuple):
    """What an exploration has found."""

    states: int
    steps: int
    violation: Violation | None


LIVENESS = "L"


def explore(
    initial: State,
    steps: Callable[[State], Iterable[Step[State]]],
    invariants: Mapping[str, Callable[[State], bool]],
    is_goal: Callable[[State], bool],
    canonical: Callable[[State], State],
) -> Explored:
    """Explore everything reachable; stop at the first state in which an invariant does not hold.

    Liveness: from each state every run without further faults ends, and in a goal. `canonical`
    names one of all states that differ by symmetry.
    """
    parents: dict[State, tuple[State, str] | None] = {canonical(initial): None}
    calm: dict[State, list[State]] = {}  # what follows without a fault
    queue, taken = deque([initial]), 0
    while queue:
        state = queue.popleft()
        known = canonical(state)
        for name, holds in invariants.items():
            if not holds(state):
                return Explored(len(parents), taken, Violation(name, _trace(parents, known)))
        followers = calm[known] = []
        for step in steps(state):
            taken += 1
            after = canonical(step.after)
            if not step.is_fault:
                followers.append(after)
            if after not in parents:
                parents[after] = (known, step.label)
                queue.append(step.after)
    violation = None
    if stuck := _stuck(calm, is_goal):
        violation = Violation(LIVENESS, _trace(parents, stuck[0]))
    return Explored(len(parents), taken, violation)


def _trace(parents: Mapping[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    labels = []
    while origin := parents[state]:
        state, label = origin
        labels.append(label)
    return tuple(reversed(labels))


def _stuck(calm: Mapping[State, list[State]], is_goal: Callable[[State], bool]) -> list[State]:
    """The states from which a run without faults need not come to a goal; dead ends first."""
    origins: dict[State, list[State]] = {}
    open_steps = {}
    sure = []
    for state, followers in calm.items():
        open_steps[state] = len(followers)
        for follower in followers:
            origins.setdefault(follower, []).append(state)
        if not followers and is_goal(state):
            sure.append(state)
    arrived = set(sure)
    while sure:
        for origin in origins.get(sure.pop(), ()):
            open_steps[origin] -= 1
            if not open_steps[origin]:
                arrived.add(origin)
                sure.append(origin)
    late = [state for state in calm if state not in arrived]
    return [state for state in late if not calm[state]] or late
