"""Real workers under a seeded scheduler end as without faults, by steps that the model allows."""

import pytest

from tests.model.guards import GUARDS, SIMULATION
from tests.model.mutants import FENCE, MUTANTS, killed_at
from tests.model.records import log_of
from tests.model.schedules import simulate
from tests.rooms import ROOT

QUICK = 200  # schedules
MANY = 2_000
PART = 250  # of them in a test


def test_schedules_lose_and_double_nothing() -> None:
    """Neither rows nor events; and there is something to lose: all faults come about."""
    taken: set[str] = set()
    repeats, kinds = 0, set[int]()
    for seed in range(QUICK):
        world = simulate(seed)
        taken |= {label.split()[0] for label in world.follower.trace}
        repeats += len(world.topic) > len(world.reader())
        kinds |= set(log_of(world.records))
    assert taken >= {"crash", "fenced", "reclaim", "revoke", "republish", "exchange", "answer"}
    assert repeats
    assert kinds >= {-1, 0, 1}


@pytest.mark.attacks
@pytest.mark.parametrize("first", range(QUICK, QUICK + MANY, PART))
def test_many_schedules(first: int) -> None:
    """The same over more of them."""
    for seed in range(first, first + PART):
        simulate(seed)


@pytest.mark.parametrize("guard", [*MUTANTS, *FENCE])
def test_a_mutant_of_the_code_is_noticed(guard: str) -> None:
    """Without the guard a schedule goes wrong."""
    assert killed_at(guard) is not None


def test_what_notices_a_mutant_exists() -> None:
    """The simulation has a mutant for each guard that it is named for, and the tests are there."""
    named = {guard.name for guard in GUARDS if guard.killer == SIMULATION}
    assert named == {*MUTANTS, *FENCE}
    for killer in {guard.killer for guard in GUARDS} - {SIMULATION, None}:
        file, _, test = str(killer).partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
