"""Alerts of budgets: a warning at 80 %, critical at 100 %, of each run or day once.

An alert is over when the run has ended, the day has, or the budget was raised or removed.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date

import asyncpg

from execstream.agents.budgets.spending import load_earlier, load_spending
from execstream.storage.alerts import records
from execstream.storage.alerts.records import Alert, Finding, OpenAlert
from execstream.streams.totals.alert_rules import Kind, Severity
from execstream.streams.totals.budgets import Budget, Per, Use, figures, uses_of

MOST_OPEN = 100  # alerts of one budget; more of them would add nothing

_LEVELS = list(Severity)


async def keep_alerts(
    connection: asyncpg.Connection,
    today: date,
    budgets: Sequence[Budget],
    uses: Mapping[str, Use],
    *,
    has_webhook: bool,
) -> list[Finding] | None:
    """Raise, change and close alerts; return the raised ones. None, and nothing is changed, while
    another worker judges.
    """
    async with records.only_one(connection) as now:
        if now is None:
            return None
        opened = {
            subject: one
            for subject, one in (await records.load_open(connection)).items()
            if one.alert.kind == Kind.BUDGET
        }
        others = _subjects([opened[one].alert for one in opened.keys() - uses.keys()], today)
        known = {
            **uses_of(budgets, await load_spending(connection, today, budgets, others)),
            **uses,
        }
        for subject, one in opened.items():
            await _look_again(connection, one, known.get(subject), has_webhook=has_webhook)
        new = await _new_uses(connection, known, opened)
        findings = [_finding(subject, use) for subject, use in new.items()]
        for finding in findings:
            await records.raise_alert(connection, finding, has_webhook=has_webhook)
        return findings


def _subjects(alerts: Collection[Alert], today: date) -> Mapping[Per, set[str]]:
    """The runs, users and graphs that the alerts are about, without those of earlier days."""
    subjects: dict[Per, set[str]] = defaultdict(set)
    for alert in alerts:
        seen = alert.figures
        if seen["day"] in (None, str(today)):
            subject = alert.graph_exec_id or seen["user_id"] or seen["graph_id"]
            subjects[Per(seen["per"])].add(subject)
    return subjects


async def _look_again(
    connection: asyncpg.Connection, one: OpenAlert, use: Use | None, *, has_webhook: bool
) -> None:
    """Update the figures of an open alert, or close it."""
    alert = one.alert
    if use is None or use.level is None or not use.spending.is_live:
        await records.close_alert(connection, alert.id, has_webhook=has_webhook)
        return
    level = max(alert.severity, use.level, key=_LEVELS.index)
    fresh = {**figures(use.budget, use.spending), "at_open": alert.figures["at_open"]}
    if (fresh, level) == (alert.figures, alert.severity):
        return
    changed = await records.update_alert(connection, alert.id, fresh, level, None)
    if level != alert.severity:
        await records.add_changed_message(connection, changed, has_webhook=has_webhook)


async def _new_uses(
    connection: asyncpg.Connection, uses: Mapping[str, Use], opened: Mapping[str, OpenAlert]
) -> dict[str, Use]:
    """The uses without an alert as severe, open or closed; of a budget MOST_OPEN at most."""
    candidates = {
        subject: use
        for subject, use in uses.items()
        if use.level is not None and subject not in opened
    }
    earlier = await load_earlier(connection, candidates) if candidates else {}
    counts = Counter(one.alert.figures["budget_id"] for one in opened.values())
    new = {}
    for subject, use in candidates.items():
        is_known = {use.level, Severity.CRITICAL} & earlier.get(subject, set())
        if not is_known and counts[use.budget.id] < MOST_OPEN:
            counts[use.budget.id] += 1
            new[subject] = use
    return new


def _finding(subject: str, use: Use) -> Finding:
    budget, spending, level = use
    seen = figures(budget, spending)
    return Finding(
        subject=subject,
        kind=Kind.BUDGET,
        severity=level or Severity.WARNING,
        graph_exec_id=spending.subject if spending.per == Per.RUN else None,
        figures={**seen, "at_open": seen["now"]},
    )
