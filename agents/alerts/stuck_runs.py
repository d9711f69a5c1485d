"""Alerts of runs that are stuck: silent, with a step that ran longer than its like ever do.

A run that runs without a running step is measured against other runs of its graph. One that is
queued, or has no history to be measured against, is stuck after a fixed time only.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import asyncpg

from execstream.storage.alerts import records
from execstream.storage.alerts.figures import (
    MOST_SILENT,
    SilentRun,
    load_run_durations,
    load_silent,
    load_step_durations,
)
from execstream.storage.alerts.records import Alert, Finding
from execstream.streams.totals.alert_rules import Kind, Rules, Severity, chance_of_longer, is_stuck

MOST_STUCK = 100  # open alerts of stuck runs; more of them would add nothing
MOST_OF_USER = 20  # of these, so that one user's runs, or clock, leave room for the others'
DURATIONS_FOR = 300.0  # seconds that durations are good for

_Durations = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Chance:
    """The probability that a step, or the run when none runs, lasts for `seconds`."""

    value: float
    samples: int
    seconds: float
    node_exec_id: str | None = None
    block_id: str | None = None


class StuckRuns:
    """Looks for them; remembers for a while how long steps and runs take."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._kept: dict[tuple[str, str], tuple[float, _Durations]] = {}

    async def look(self, connection: asyncpg.Connection, *, has_webhook: bool) -> list[Finding]:
        """Raise and close alerts of runs; return the raised ones. Changes nothing while another
        worker judges.
        """
        self._forget()
        # Before the lock: durations of many blocks take their time.
        runs = await load_silent(connection, self._rules.least_silence)
        judged = [await self._judge(connection, run) for run in runs]
        found = {finding.subject: finding for finding in judged if finding is not None}
        async with records.only_one(connection) as now:
            if now is None:
                return []
            opened = {
                subject: one.alert
                for subject, one in (await records.load_open(connection)).items()
                if one.alert.kind == Kind.STUCK
            }
            for subject in opened.keys() & found.keys():
                await _look_again(connection, opened[subject], found[subject])
            if len(runs) < MOST_SILENT:  # otherwise a missing run may only be beyond the limit
                for subject in opened.keys() - found.keys():
                    await records.close_alert(
                        connection, opened[subject].id, has_webhook=has_webhook
                    )
            new = _chosen(runs, opened, found)
            for finding in new:
                await records.raise_alert(connection, finding, has_webhook=has_webhook)
            return new

    async def _judge(self, connection: asyncpg.Connection, run: SilentRun) -> Finding | None:
        """Judge a run by its least likely running step."""
        chances = await self._chances(connection, run)
        chance = min(chances, key=lambda chance: (chance.value, -chance.seconds))
        if not is_stuck(self._rules, chance.value, chance.seconds):
            return None
        return Finding(
            subject=_subject(run),
            kind=Kind.STUCK,
            severity=Severity.WARNING,
            block_id=chance.block_id,
            graph_exec_id=run.graph_exec_id,
            figures={
                "silent_since": run.silent_since,
                "samples": chance.samples,
                "node_exec_id": chance.node_exec_id,
                **dict.fromkeys(("at_open", "worst", "now"), _seen(chance)),
            },
        )

    async def _chances(self, connection: asyncpg.Connection, run: SilentRun) -> list[Chance]:
        """Return one probability per running step, or one for the run if no step is running."""
        if not run.steps and run.seconds is None:  # queued: no history of its length is known
            return [Chance(1.0, 0, run.silent)]
        if not run.steps:
            durations = await self._durations(connection, graph_id=run.graph_id)
            return [_chance(durations, run.seconds or 0.0)]
        chances = []
        for step in run.steps:
            durations = await self._durations(connection, block_id=step.block_id)
            chances.append(_chance(durations, step.seconds, step.node_exec_id, step.block_id))
        return chances

    async def _durations(
        self, connection: asyncpg.Connection, *, block_id: str = "", graph_id: str = ""
    ) -> _Durations:
        kept = self._kept.get((block_id, graph_id))
        if kept is not None:
            return kept[1]
        if block_id:
            durations = await load_step_durations(connection, block_id)
        else:
            durations = await load_run_durations(connection, graph_id)
        self._kept[block_id, graph_id] = (time.monotonic(), durations)
        return durations

    def _forget(self) -> None:
        oldest = time.monotonic() - DURATIONS_FOR
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > oldest}


def _subject(run: SilentRun) -> str:
    return f"run:{run.graph_exec_id}"


def _chosen(
    runs: Iterable[SilentRun], opened: Collection[str], found: Mapping[str, Finding]
) -> list[Finding]:
    """Those of `found` that are raised beside the open alerts, by subject."""
    users = {_subject(run): run.user_id for run in runs}
    of_user = Counter(users[subject] for subject in opened if subject in users)
    chosen: list[Finding] = []
    for subject in found:
        if subject in opened:
            continue
        if len(opened) + len(chosen) < MOST_STUCK and of_user[users[subject]] < MOST_OF_USER:
            of_user[users[subject]] += 1
            chosen.append(found[subject])
    return chosen


async def _look_again(connection: asyncpg.Connection, alert: Alert, finding: Finding) -> None:
    """Update the duration, which is the worst so far; the figures at the raising stay."""
    figures = {**finding.figures, "at_open": alert.figures["at_open"]}
    await records.update_alert(connection, alert.id, figures, alert.severity, None)


def _seen(chance: Chance) -> dict[str, object]:
    return {"seconds": round(chance.seconds), "probability": round(chance.value, 6)}


def _chance(
    durations: _Durations,
    seconds: float,
    node_exec_id: str | None = None,
    block_id: str | None = None,
) -> Chance:
    value = chance_of_longer(durations, seconds)
    return Chance(value, sum(durations.values()), seconds, node_exec_id, block_id)
