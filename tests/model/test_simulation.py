"""Real workers under a seeded scheduler end as without faults, by steps that the model allows."""

import pytest

from execstream.agents.apply import batch_cutting
from tests.model.guards import GUARDS, killers
from tests.model.mutants import APART, FENCE, MUTANTS, killed_apart_at, killed_at
from tests.model.records import HEAVY_BYTES
from tests.model.schedules import simulate
from tests.model.source_mutants import SOURCE_MUTANTS
from tests.rooms import ROOT

QUICK = 200  # schedules
MANY = 2_000
PART = 250  # of them in a test
HEAVY = (1, HEAVY_BYTES)  # bytes from which a command is heavy; 1: all are


@pytest.mark.slow
@pytest.mark.promise
def test_schedules_lose_and_double_nothing() -> None:
    """Neither rows nor events; and there is something to lose: all faults come about."""
    taken: set[str] = set()
    repeats, kinds = 0, set[int]()
    for seed in range(QUICK):
        world = simulate(seed)
        taken |= {label.split()[0] for label in world.followers[0].trace}
        repeats += world.topics != world.readers()
        kinds |= set(world.logs[0])
    assert taken >= {"crash", "fenced", "reclaim", "revoke", "republish", "exchange", "answer"}
    assert repeats
    assert kinds >= {-1, 0, 1}


@pytest.mark.attacks
@pytest.mark.parametrize("first", range(QUICK, QUICK + MANY, PART))
def test_many_schedules(first: int) -> None:
    """The same over more of them."""
    for seed in range(first, first + PART):
        simulate(seed)


@pytest.mark.slow
@pytest.mark.parametrize("size", HEAVY)
def test_schedules_with_heavy_commands(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """They are committed and published beside another partition, and lose and double as little.
    Where all are heavy, one batch is on its way at a time.
    """
    monkeypatch.setattr(batch_cutting, "HEAVY_BYTES", size)
    worlds = [simulate(seed, partitions=2) for seed in range(QUICK // 2)]
    assert any(world.beside for world in worlds) is (size > 1)


@pytest.mark.attacks
@pytest.mark.parametrize("size", HEAVY)
@pytest.mark.parametrize("first", range(QUICK // 2, QUICK // 2 + MANY // 2, PART))
def test_many_schedules_with_heavy_commands(
    monkeypatch: pytest.MonkeyPatch, size: int, first: int
) -> None:
    """The same over more of them."""
    monkeypatch.setattr(batch_cutting, "HEAVY_BYTES", size)
    for seed in range(first, first + PART):
        simulate(seed, partitions=2)


@pytest.mark.slow
@pytest.mark.parametrize("guard", APART)
def test_a_mutant_of_the_way_of_heavy_commands_is_noticed(guard: str) -> None:
    """Without the guard a schedule goes wrong."""
    assert killed_apart_at(guard) is not None


@pytest.mark.parametrize("guard", [*MUTANTS, *FENCE])
def test_a_mutant_of_the_code_is_noticed(guard: str) -> None:
    """Without the guard a schedule goes wrong."""
    assert killed_at(guard) is not None


def test_what_notices_a_mutant_exists() -> None:
    """Each guard of the model has a mutant of the code; and no mutant is of another guard."""
    assert all(map(killers, GUARDS))
    mutants = {*MUTANTS, *FENCE, *(one.guard for one in SOURCE_MUTANTS)}
    assert mutants == {guard.name for guard in GUARDS}
    for one in SOURCE_MUTANTS:
        file, _, test = one.killer.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
        assert (ROOT / one.file).read_text(encoding="utf-8").count(one.old) == 1
