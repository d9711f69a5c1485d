"""Comparison with the usual rate: its own of the day before, significance, and the onset."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from execstream.streams.totals.alert_rules import Counts
from execstream.streams.totals.unusual import LEAST_USUAL, excess, is_unusual, onset, usual_rate

FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTES = [FIRST + timedelta(minutes=n) for n in range(60)]


def test_the_usual_rate_is_its_own_once_it_has_ended_often_enough() -> None:
    """Else that of all subjects, which a new version of a graph is measured by."""
    overall = Counts(1_000, 30)
    assert usual_rate(Counts(LEAST_USUAL, 10), overall) == 0.5
    assert usual_rate(Counts(LEAST_USUAL - 1, 10), overall) == 0.03
    assert usual_rate(Counts(), Counts()) == 0


def _drawn(draws: random.Random, ended: int) -> Counts:
    return Counts(ended, sum(draws.random() < 0.03 for _ in range(ended)))


def test_chance_is_not_unusual() -> None:
    """One of 1,000 subjects that fail as usual may be: of 200 blocks hardly any is."""
    draws = random.Random(1)
    for ended in (5, 40):
        noisy = [_drawn(draws, ended) for _ in range(200)]
        assert sum(is_unusual(counts, 0.03) for counts in noisy) <= 1
    assert not is_unusual(Counts(6, 2), 0.02)
    assert is_unusual(Counts(40, 12), 0.03)
    assert excess(Counts(40, 12), 0.05) == 10


@pytest.mark.parametrize("began", [0, 13, 41, 55])
@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_onset(began: int, rate: float) -> None:
    """Within two minutes of the beginning, though 3 % fail before it."""
    draws = random.Random(began)
    minutes = {}
    for number, minute in enumerate(MINUTES):
        chance = rate if number >= began else 0.03
        minutes[minute] = Counts(30, sum(draws.random() < chance for _ in range(30)))
    found = onset(minutes, 0.03)
    assert found is not None
    assert abs(found - MINUTES[began]) <= timedelta(minutes=2)


def test_no_onset_without_failures() -> None:
    assert onset({}, 0.1) is None
    assert onset({FIRST: Counts(10, 1)}, 0.1) is None
