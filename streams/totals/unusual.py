"""Comparison of the last hour of a block, a version of a graph or a user with the day before it.

Pure functions: counts come in, nothing is remembered.
"""

from collections.abc import Mapping
from datetime import datetime

from execstream.streams.totals.alert_rules import Counts, least_rate

LEAST_USUAL = 20  # ended steps or runs, from which a rate of the day before is usual
LEAST_EXCESS = 3.0  # failures: of many subjects some have one or two by chance


def usual_rate(before: Counts, overall: Counts) -> float:
    """The failure rate to expect of a subject: its own of the day before, or that of all subjects
    when it ended too little to have one.
    """
    return before.rate if before.ended >= LEAST_USUAL else overall.rate


def excess(counts: Counts, usual: float) -> float:
    """Failures beyond those that the usual rate explains; negative when there were fewer."""
    return counts.failed - usual * counts.ended


def is_unusual(counts: Counts, usual: float) -> bool:
    """Return whether the rate is certainly above the usual one, by more than a few failures."""
    return excess(counts, usual) >= LEAST_EXCESS and least_rate(counts) > usual


def onset(minutes: Mapping[datetime, Counts], usual: float) -> datetime | None:
    """The minute since which failures are above the usual rate; None when they are not.

    It begins the last minutes with the most failures beyond a rate halfway between the usual one
    and that of all minutes, so that single failures before do not move it.
    """
    whole = Counts(*map(sum, zip(*minutes.values(), strict=True))) if minutes else Counts()
    halfway = (usual + whole.rate) / 2
    begin, most, sum_ = None, 0.0, 0.0
    for minute in sorted(minutes, reverse=True):
        sum_ += excess(minutes[minute], halfway)
        if sum_ > most:
            begin, most = minute, sum_
    return begin if whole.rate > usual else None
