"""Budgets: limits of the cost of a run, of a user and day, or of a graph and day.

Judgements only: sums of costs come in, and the command that stops a run goes out. Its id follows
from run and budget, so a repeated command is a duplicate.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from execstream.streams.totals.alert_rules import Severity, spent

WARN_AT = Decimal("0.8")  # of the limit


class Per(StrEnum):
    """The subject of a limit; the day is the UTC day on which steps ended."""

    RUN = "run"
    USER_DAY = "user_day"
    GRAPH_DAY = "graph_day"


class Action(StrEnum):
    """The reaction to a budget that is used up, beside the alert."""

    ALERT = "alert"
    TERMINATE = "terminate"


class Budget(NamedTuple):
    """A budget. `cost` in cents; None: of every graph, of every user."""

    id: str
    per: Per
    cost: int
    action: Action
    graph_id: str | None = None
    user_id: str | None = None


class Spending(NamedTuple):
    """The cost of a run, or of a user or a graph on a day; `day` is None for a run.

    `graph_id` and `user_id` are those of the run; else the subject alone.
    """

    per: Per
    subject: str
    day: date | None
    cost: Decimal
    graph_id: str | None = None
    user_id: str | None = None
    is_live: bool = True  # of a run: it has not ended

    def counts_for(self, budget: Budget) -> bool:
        """Return whether `budget` limits this spending."""
        return (
            budget.per == self.per
            and budget.graph_id in (None, self.graph_id)
            and budget.user_id in (None, self.user_id)
        )


class Use(NamedTuple):
    """Costs that count for a budget, with their level; None: below 80 %."""

    budget: Budget
    spending: Spending
    level: Severity | None


def uses_of(budgets: Iterable[Budget], spent: Iterable[Spending]) -> dict[str, Use]:
    """Each budget with each of the costs that count for it, by the subject of its alert."""
    by_per: dict[Per, list[Budget]] = {}
    for budget in budgets:
        by_per.setdefault(budget.per, []).append(budget)
    return {
        alert_subject(budget, spending): Use(budget, spending, severity_of(budget, spending.cost))
        for spending in spent
        for budget in by_per.get(spending.per, ())
        if spending.counts_for(budget)
    }


def severity_of(budget: Budget, cost: Decimal) -> Severity | None:
    """CRITICAL for a budget that is used up, WARNING from 80 % on."""
    if cost >= budget.cost:
        return Severity.CRITICAL
    return Severity.WARNING if cost >= budget.cost * WARN_AT else None


def alert_subject(budget: Budget, spending: Spending) -> str:
    """The subject of the alert: one per budget and run, or per budget, user or graph, and day."""
    parts = [budget.id, spending.subject]
    if spending.day is not None:
        parts.append(str(spending.day))
    return "budget:" + "/".join(parts)


def stopping_id(run_id: str, budget: Budget, day: date | None) -> str:
    """The id of the command that stops a run: `uuid5(run, budget)`; of a budget per day,
    `uuid5(run, budget/day)`.
    """
    return str(uuid5(UUID(run_id), budget.id if day is None else f"{budget.id}/{day}"))


def reason(budget: Budget, spending: Spending) -> str:
    """The error of a run that is stopped."""
    return f"Budget {budget.id} is used up: {spent(figures(budget, spending))}"


def figures(budget: Budget, spending: Spending) -> dict[str, Any]:
    """The figures of an alert, without those at its opening."""
    return {
        "budget_id": budget.id,
        "per": budget.per,
        "limit": budget.cost,
        "action": budget.action,
        "graph_id": spending.graph_id,
        "user_id": spending.user_id,
        "day": None if spending.day is None else str(spending.day),
        "now": {"cost": int(spending.cost)},
    }
