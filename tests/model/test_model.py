"""The protocol holds in every state of its model, and each of its guards is needed."""

from functools import reduce
from importlib import import_module

import pytest

from tests.model import protocol, reading
from tests.model.guards import (
    GUARDS,
    HEAD,
    THRIFTY,
    WHOLE,
    Guard,
    Scope,
    explore_reading,
    found,
    row,
)
from tests.model.invariants import ELSEWHERE, SENTENCES, invariants
from tests.rooms import ROOT

FUNCTIONS = {
    name for model in (protocol, reading) for names in model.MODELLED.values() for name in names
}


@pytest.mark.slow
@pytest.mark.parametrize("scope", WHOLE, ids=str)
def test_the_invariants_hold(scope: Scope) -> None:
    """In all states that two workers come to with so many faults, and everything ends well."""
    explored = scope.explore()
    assert explored.violation is None
    assert explored.states > 5_000  # it has not run dry


def test_batches_have_no_gap() -> None:
    """Whatever is stale, repeated or lost between Kafka and a batch."""
    explored = explore_reading()
    assert explored.violation is None
    assert explored.states > 500


@pytest.mark.parametrize("guard", GUARDS, ids=[guard.name for guard in GUARDS])
def test_a_guard_is_needed(guard: Guard) -> None:
    """Without it the checker finds a violation, and what it finds is in the manual."""
    assert found(guard).violation is not None
    manual = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert row(guard) in manual, "It is stale: python -m tests.model"


@pytest.mark.parametrize("guard", THRIFTY)
def test_a_guard_saves_repeats_only(guard: str) -> None:
    """Without it everything holds all the same."""
    assert THRIFTY[guard].explore(guard).violation is None


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_what_is_modelled_exists(name: str) -> None:
    """An action of a model names functions of the code."""
    module, _, path = name.partition(":")
    owner = import_module(f"execstream.{module}")
    assert callable(reduce(getattr, path.split("."), owner))


def test_every_action_names_what_it_models() -> None:
    """Or is one of the faults of Faust and Kafka."""
    with_faults = protocol.System(faults=2)
    taken, left = set(), [with_faults]
    model = protocol.Protocol((1,), swaps=True, saves=True)
    seen = {with_faults}
    while left:
        for step in model.steps(left.pop()):
            taken.add(step.label.rstrip("01 ").removesuffix(" 1 to"))
            if step.after not in seen:
                seen.add(step.after)
                left.append(step.after)
    assert {label.removesuffix(" to").rstrip("01 ") for label in taken} == set(protocol.MODELLED)


def test_every_invariant_is_checked_or_is_elsewhere() -> None:
    """I1 to I11, and the liveness that the explorer itself checks."""
    assert SENTENCES.keys() | ELSEWHERE.keys() == {"L", *(f"I{n}" for n in range(1, 12))}
    assert invariants((1,)).keys() | {"I3", "L"} == SENTENCES.keys()


def test_the_manual_has_the_table() -> None:
    """Its head, and no row of a guard that is gone."""
    manual = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    _, _, rows = manual.partition("\n".join(HEAD) + "\n")
    assert rows.partition("\n\n")[0].count("\n") + 1 == len(GUARDS)
