"""Rules of alerts: rates, spans, silence."""

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.streams.totals.alert_rules import (
    PAIRS,
    SPANS,
    Counts,
    Kind,
    Rules,
    Severity,
    Spans,
    chance_of_longer,
    exceeding,
    is_calm,
    is_stuck,
    keeping_span,
    least_rate,
    severity,
    threshold,
    title,
)
from execstream.streams.totals.histogram import bucket_of

RULES = Rules()

steps = st.integers(1, 1_000_000)


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    ended = draw(steps)
    return Counts(ended, draw(st.integers(0, ended)))


def everywhere(ended: int, failed: int) -> Spans:
    return dict.fromkeys(SPANS, Counts(ended, failed))


@given(counts())
def test_what_is_certain_is_less_than_what_was_seen(seen: Counts) -> None:
    """And never negative."""
    assert 0.0 <= least_rate(seen) <= seen.rate


@given(steps.flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_one_more_failure_makes_no_rate_smaller(seen: tuple[int, int]) -> None:
    """In the same number of steps."""
    ended, failed = seen
    assert least_rate(Counts(ended, failed)) <= least_rate(Counts(ended, failed + 1)) + 1e-12


@given(counts(), st.integers(2, 50))
def test_more_of_the_same_is_more_certain(seen: Counts, times: int) -> None:
    """The same rate of more steps."""
    more = Counts(seen.ended * times, seen.failed * times)
    assert least_rate(seen) <= least_rate(more) + 1e-12


@pytest.mark.parametrize("ended", [3, 10, 40, 150])
@pytest.mark.parametrize(("rate", "most"), [(0.05, 0.01), (0.1, 0.002), (0.3, 0.002)])
def test_a_block_at_the_threshold_is_rarely_above_it(ended: int, rate: float, most: float) -> None:
    """With a true rate that is the threshold, hardly any sample claims more."""
    claims = sum(
        comb(ended, failed) * rate**failed * (1 - rate) ** (ended - failed)
        for failed in range(ended + 1)
        if least_rate(Counts(ended, failed)) > rate
    )
    assert claims <= most


@pytest.mark.parametrize(
    ("ended", "failed", "is_told"),
    [
        (1, 1, False),
        (2, 2, False),
        (3, 3, True),
        (10, 3, False),
        (10_000, 50, False),  # 0.5 %
        (60, 18, True),  # 30 %
        (100_000, 10_500, True),  # 10.5 %
        (100_000, 10_000, False),
    ],
)
def test_there_is_no_least_number_of_steps(ended: int, failed: int, is_told: bool) -> None:
    """Few steps suffice when all of them fail, many when a few more than allowed do."""
    found = exceeding(everywhere(ended, failed), RULES.failure_rate)
    assert (found is not None) == is_told


def test_both_spans_must_exceed() -> None:
    """A failure that is over raises no alert, and one that has only begun must matter."""
    healthy, failing = Counts(1_000, 0), Counts(1_000, 500)
    for short, long in PAIRS:
        longer = {span: failing if span >= long else healthy for span in SPANS}
        shorter = {span: failing if span <= short else healthy for span in SPANS}
        both = {span: failing if span in {short, long} else healthy for span in SPANS}
        assert exceeding(both, 0.1) == long
        assert exceeding(shorter, 0.1) != long
        assert exceeding({**longer, short: healthy}, 0.1) != long


@given(counts())
def test_a_block_is_measured_against_itself(usual: Counts) -> None:
    """The threshold is never below the setting, never out of reach, and above what is usual."""
    limit = threshold(RULES.failure_rate, usual)
    assert RULES.failure_rate <= limit < 1.0
    assert limit > least_rate(usual)


def test_a_block_that_always_fails_at_30_percent_is_not_told_of() -> None:
    """A few failures of the past excuse nothing."""
    always, once = Counts(10_000, 3_000), Counts(3, 3)
    assert exceeding(everywhere(1_000, 300), threshold(RULES.failure_rate, always)) is None
    assert exceeding(everywhere(1_000, 800), threshold(RULES.failure_rate, always)) is not None
    assert threshold(RULES.failure_rate, once) < 0.35


def test_it_is_over_well_below_the_threshold() -> None:
    """Between half of it and the threshold nothing changes; without steps the last hour counts."""
    assert not is_calm(everywhere(1_000, 90), 0.1)
    assert is_calm(everywhere(1_000, 40), 0.1)
    assert is_calm(everywhere(0, 0), 0.1)
    quiet = {**everywhere(0, 0), 60: Counts(3, 3)}
    assert not is_calm(quiet, 0.1)


@given(counts(), st.floats(0.01, 0.9))
def test_nothing_is_raised_and_over_at_once(seen: Counts, limit: float) -> None:
    """So it does not flap."""
    spans = everywhere(*seen)
    assert not (exceeding(spans, limit) is not None and is_calm(spans, limit))


def test_how_bad_it_is() -> None:
    """Critical means a certain failure of more than half of its steps."""
    assert severity(everywhere(3, 3), 1) == Severity.WARNING
    assert severity(everywhere(100, 90), 1) == Severity.CRITICAL


@given(
    st.dictionaries(st.integers(-1, 700), st.integers(1, 10_000), max_size=30),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
)
def test_the_longer_it_takes_the_less_likely(
    durations: dict[int, int], one: float, other: float
) -> None:
    """The probability is between 0 and 1, and never less than the sample allows."""
    sooner, later = sorted([one, other])
    likely, unlikely = (chance_of_longer(durations, seconds) for seconds in (sooner, later))
    assert 0 < unlikely <= likely < 1
    assert unlikely >= 1 / (sum(durations.values()) + 2)


def test_stuck_is_what_hardly_ever_took_so_long() -> None:
    """A long history makes it certain; a short one does not, unless a day has gone."""
    minute = bucket_of(60 * 1_000_000)
    for steps_seen, stuck in ((100, False), (10_000, True)):
        chance = chance_of_longer({minute: steps_seen}, 600)
        assert is_stuck(RULES, chance, 600) == stuck
        assert is_stuck(RULES, chance, 90_000)
        assert not is_stuck(RULES, chance, 200)
    assert chance_of_longer({minute: 10_000}, 30) > 0.99


def test_alerts_read_as_sentences() -> None:
    """With the figures they were judged by."""
    figures = {
        "now": {"failed": 1_200, "ended": 2_400, "minutes": 1},
        "worst": {"failed": 9, "ended": 10, "minutes": 5},
    }
    stuck = {"now": {"seconds": 7_500}, "node_exec_id": "n"}
    assert title(Kind.FAILING, None, figures) == "1,200 of 2,400 steps failed within 2 minutes"
    assert "with errors of class quota" in title(Kind.FAILING, "quota", figures)
    assert title(Kind.STUCK, None, stuck).startswith("A step has been running for 2 h 5 min")
    assert title(Kind.STUCK, None, {**stuck, "node_exec_id": None}).startswith("It has been")


def test_an_alert_that_is_over_or_idle_tells_the_worst() -> None:
    """No title has 0 of 0 steps."""
    worst = {"failed": 9, "ended": 10, "minutes": 5}
    busy = {"now": {"failed": 1, "ended": 40, "minutes": 5}, "worst": worst}
    idle = {"now": {"failed": 0, "ended": 0, "minutes": 60}, "worst": worst}

    told = "9 of 10 steps failed within 6 minutes, at worst"
    assert title(Kind.FAILING, None, idle) == told
    assert title(Kind.FAILING, None, busy, is_open=False) == told
    assert title(Kind.FAILING, None, busy) == "1 of 40 steps failed within 6 minutes"


def test_the_span_that_keeps_an_alert_open_is_the_one_it_is_calm_by() -> None:
    """The last minutes, or the last hour where no step ended in these."""
    bad, none = Counts(10, 9), Counts()
    recent = {0: none, 1: none, 5: bad, 60: bad}
    idle = {0: none, 1: none, 5: none, 60: bad}
    assert [keeping_span(spans) for spans in (recent, idle)] == [5, 60]
    assert not is_calm(idle, 0.1)
    assert is_calm(everywhere(0, 0), 0.1)
