"""The judge of budgets: which of them are used up, by committed costs.

The tally names the runs, users and graphs with new costs after each commit, and they alone are
judged, by sums in Postgres. Everything is judged at the start, after a failure, when a day begins,
and when a budget was changed. A repeated judgement changes nothing.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date

import asyncpg

from execstream.agents.budgets.budget_alerts import keep_alerts
from execstream.agents.budgets.spending import load_spending
from execstream.agents.budgets.stopping import Stopper
from execstream.config.settings import Settings
from execstream.storage.alerts.records import Finding
from execstream.storage.alerts.stored_budgets import load_budgets
from execstream.streams.totals.budgets import Budget, Per, uses_of

MOST_TOUCHED = 50_000  # with more of them everything is judged
AT_LEAST_EVERY = 2.0  # seconds between looks without new costs: runs and days that end close alerts


class BudgetJudge:
    """Judges the costs that the tally of this worker has counted."""

    def __init__(self, settings: Settings) -> None:
        self._raises_alerts = settings.alerts
        self._has_webhook = settings.alert_webhook_url is not None
        self._stopper = Stopper(settings)
        self._touched: dict[Per, set[str]] = defaultdict(set)
        self._is_all_due = True
        self._known: tuple[date, Sequence[Budget]] | None = None
        self._looked_at = 0.0

    def touch(self, spent: Iterable[tuple[int, Per, str, int]]) -> None:
        """Note committed costs, by the keys of `Tally.spending`."""
        for _, per, subject, _ in spent:
            self._touched[per].add(subject)
        if sum(map(len, self._touched.values())) > MOST_TOUCHED:
            self.judge_all()

    def judge_all(self) -> None:
        """Judge everything at the next look."""
        self._touched = defaultdict(set)
        self._is_all_due = True

    @property
    def is_due(self) -> bool:
        """Return whether it is time for a look."""
        is_late = time.monotonic() - self._looked_at > AT_LEAST_EVERY
        return bool(self._touched) or self._is_all_due or is_late

    async def look(self, connection: asyncpg.Connection) -> list[Finding]:
        """Stop runs, and raise, change and close alerts; return the raised ones."""
        self._looked_at = time.monotonic()
        touched, self._touched = self._touched, defaultdict(set)
        is_all_due, self._is_all_due = self._is_all_due, False
        try:
            today, budgets = now = await load_budgets(connection)
            subjects = None if is_all_due or now != self._known else touched
            uses = uses_of(budgets, await load_spending(connection, today, budgets, subjects))
            findings: list[Finding] | None = []
            if self._raises_alerts:
                findings = await keep_alerts(
                    connection, today, budgets, uses, has_webhook=self._has_webhook
                )
            # Only then: a worker that dies in between leaves a live run, which the next one judges;
            # of a run that has ended it would raise no alert any more.
            if findings is not None:
                await self._stopper.stop(connection, uses)
        except BaseException:
            self.judge_all()
            raise
        self._known = now
        if findings is None:  # another worker judged meanwhile
            self._is_all_due = self._is_all_due or subjects is None
            for per, some in touched.items():
                self._touched[per] |= some
        return findings or []

    async def close(self) -> None:
        await self._stopper.close()
