"""Rules for alerts: blocks that fail too often, and runs that are silent for too long. Judgements
only: counts and durations come in, nothing is remembered.

**Failing.** A rate is believed as far as its sample carries: its lower confidence bound counts, so
that three failures of three steps are significant and one of one is not. It must be above the
threshold over a short span and over a long one: the long one shows that it matters, the short one
that it still goes on. Several pairs of spans see a block that fails at once and one that has few
steps. A block that has always failed more often is measured against itself.

Steps are taken to fail independently of each other: a single run that repeats one failing step
looks like a block that fails. Steps that failed because their run ended, or a child run failed, are
no failures here, and failures caused by the caller's input or credentials count only if so
configured.

**Stuck.** A step that runs is suspicious when hardly any step of its block ever took as long.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from execstream.streams.totals.histogram import bucket_of

Z = 3.09  # standard deviations: about one of 1,000 samples claims more than is true
PAIRS = ((0, 1), (1, 5), (5, 60))  # whole minutes before the running one, which belongs to all
SPANS = tuple(sorted({span for pair in PAIRS for span in pair}))
CALM_SPANS = (5, 60)
USUAL_TIMES = 2.0  # a block with a rate of its own must exceed it so many times
CALM_PART = 0.5  # of the threshold: below it, a rate is well again
CRITICAL = 0.5  # a rate of which so much is certain


class Kind(StrEnum):
    FAILING = "failing"
    STUCK = "stuck"
    BUDGET = "budget"


class Severity(StrEnum):
    WARNING = "warning"
    CRITICAL = "critical"


class Counts(NamedTuple):
    """Steps that ended, and those of them that failed."""

    ended: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        return self.failed / self.ended if self.ended else 0.0


Spans = Mapping[int, Counts]
"""What ended within each of SPANS."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of the rules. Times in seconds. `block_rates` take the place of `failure_rate`
    for some blocks, by their ids.
    """

    failure_rate: float = 0.1
    block_rates: Mapping[str, float] = field(default_factory=dict)
    stuck_probability: float = 0.001
    least_silence: float = 300.0
    longest_silence: float = 86_400.0  # stuck whatever the block's history
    caller_failures: bool = False  # count failures that the caller caused

    def rate_of(self, block_id: str) -> float:
        """The part of the block's steps that may fail."""
        return self.block_rates.get(block_id, self.failure_rate)


def least_rate(counts: Counts) -> float:
    """The lower confidence bound of the rate: Wilson's, corrected for continuity, which stays close
    to the exact one where there are few steps."""
    n, failed = counts
    if failed <= 0:
        return 0.0
    p, z2 = min(1.0, failed / n), Z * Z
    spread = Z * math.sqrt(max(0.0, z2 - 1 / n + 4 * n * p * (1 - p) + 4 * p - 2))
    return max(0.0, (2 * n * p + z2 - spread - 1) / (2 * (n + z2)))


def threshold(rate: float, usual: Counts) -> float:
    """The rate that a block must exceed, which may fail at `rate`; `usual`: how it fared before.

    Only the certain part of the usual rate counts. However high that is, the threshold is higher.
    """
    certain = least_rate(usual)
    return max(rate, min(USUAL_TIMES * certain, (1 + certain) / 2))


def exceeding(spans: Spans, limit: float) -> int | None:
    """The first long span over which the rate is certainly above `limit`, as it is over the short
    one; None when it is not."""
    for short, long in PAIRS:
        if min(least_rate(spans[short]), least_rate(spans[long])) > limit:
            return long
    return None


def is_calm(spans: Spans, limit: float) -> bool:
    """Return whether an open alert's rate has recovered: far below `limit` in the last minutes, or
    in the last hour for a block without steps in the last minutes.
    """
    return spans[keeping_span(spans)].rate < limit * CALM_PART


def keeping_span(spans: Spans) -> int:
    """The span that keeps an alert open: the first of CALM_SPANS in which a step ended."""
    return next((span for span in CALM_SPANS if spans[span].ended), CALM_SPANS[-1])


def severity(spans: Spans, span: int) -> Severity:
    """The severity over `span`."""
    return Severity.CRITICAL if least_rate(spans[span]) > CRITICAL else Severity.WARNING


def chance_of_longer(durations: Mapping[int, int], seconds: float) -> float:
    """The probability that a step lasts longer than `seconds`, when others took `durations`
    (`execstream.streams.totals.histogram`).

    By the rule of succession (k + 1) / (n + 2), so that a few durations never make anything
    improbable. Those of the same bucket count as longer.
    """
    bucket = bucket_of(int(seconds * 1_000_000))
    longer = sum(count for other, count in durations.items() if other >= bucket)
    return (longer + 1) / (sum(durations.values()) + 2)


def is_stuck(rules: Rules, chance: float, seconds: float) -> bool:
    """Return whether a step that has been running for `seconds`, with probability `chance`, is
    stuck.
    """
    if seconds < rules.least_silence:
        return False
    return chance < rules.stuck_probability or seconds > rules.longest_silence


def title(
    kind: Kind, error_class: str | None, figures: Mapping[str, Any], *, is_open: bool = True
) -> str:
    """An alert in a sentence; `figures` as stored in Postgres. For an alert that is over, or whose
    block is idle, it has the worst figures.
    """
    now = figures["now"]
    if kind == Kind.BUDGET:
        return f"Budget {figures['budget_id']}: {spent(figures)}"
    if kind == Kind.STUCK:
        what = "A step has" if figures["node_exec_id"] else "It has"
        return f"{what} been running for {_span(now['seconds'])}, and nothing is heard of it"
    is_now = is_open and now["ended"] > 0
    seen, at_worst = (now, "") if is_now else (figures["worst"], ", at worst")
    of_class = f" with errors of class {error_class}" if error_class else ""
    minutes = seen["minutes"] + 1  # the running one
    span = "a minute" if minutes == 1 else f"{minutes} minutes"
    failed = f"{seen['failed']:,} of {seen['ended']:,} steps failed"
    return f"{failed}{of_class} within {span}{at_worst}"


def spent(figures: Mapping[str, Any]) -> str:
    """A clause about the figures of a budget's alert."""
    amount = f"{figures['now']['cost']:,} of {figures['limit']:,} cents spent"
    if figures["per"] == "run":
        return f"{amount} by the run"
    whose = f"graph {figures['graph_id']}" if figures["user_id"] is None else figures["user_id"]
    return f"{amount} by {whose} on {figures['day']}"


def _span(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
