"""Durations in buckets: how exact, and that they add up."""

import math

from hypothesis import given
from hypothesis import strategies as st

from execstream.streams.totals.histogram import (
    NOTHING,
    RELATIVE_ERROR,
    bucket_of,
    merge,
    middle_of,
    quantile,
)

YEARS_9999 = 315_537_897_600_000_000  # microseconds
durations = st.one_of(
    st.integers(1, YEARS_9999), st.integers(1, 10_000), st.integers(0, 58).map(lambda n: 2**n)
)


@given(durations)
def test_a_bucket_stands_for_what_is_in_it_within_two_percent(microseconds: int) -> None:
    """The bound holds from a microsecond to all the years there are."""
    found = middle_of(bucket_of(microseconds)) * 1_000

    assert abs(found - microseconds) <= RELATIVE_ERROR * microseconds


@given(durations, durations)
def test_longer_durations_are_never_in_lower_buckets(one: int, other: int) -> None:
    assert bucket_of(min(one, other)) <= bucket_of(max(one, other))


def test_no_duration_has_a_bucket_of_its_own() -> None:
    """A negative one by a skewed clock has it, too."""
    assert bucket_of(0) == bucket_of(-5) == NOTHING
    assert middle_of(NOTHING) == 0


@given(st.lists(st.lists(durations, max_size=20), max_size=5), st.sampled_from([0, 0.5, 0.95, 1]))
def test_merged_parts_tell_the_quantiles_of_the_whole(parts: list[list[int]], share: float) -> None:
    """Within 2 % of the duration that stands at that rank."""
    merged: dict[int, int] = {}
    for part in parts:
        counts: dict[int, int] = {}
        for duration in part:
            merge(counts, {bucket_of(duration): 1})
        merge(merged, counts)
    ordered = sorted(duration for part in parts for duration in part)

    found = quantile(merged, share)

    if not ordered:
        assert found is None
        return
    expected = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
    assert found is not None
    assert abs(found * 1_000 - expected) <= RELATIVE_ERROR * expected
