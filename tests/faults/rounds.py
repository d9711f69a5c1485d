"""Figures of a round of fault trials, kept for docs/faults.md."""

from collections.abc import Iterable
from statistics import median
from typing import Any

from msgspec import Struct, convert, to_builtins

from bench import results
from tests.faults.scenarios import Scenario
from tests.faults.trial import Outcome

SHORT, LONG = "faults", "faults-long"  # the files of the rounds


class Figures(Struct, kw_only=True):
    """A row of the table.

    Attributes:
        not_run: the reason, if the scenario was not run; empty otherwise.
        planned: trials that the round has.
        recoveries: the middle and the longest time, in seconds, from a fault until the consumer was
            less than a second behind for good; None where nothing recovers.
        notes: effects of single trials that are no faults.
    """

    fault: str
    name: str
    planned: int
    not_run: str = ""
    trials: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    differing: int = 0
    fenced: int = 0
    set_aside: int = 0
    recoveries: tuple[float, float] | None = None
    seed: int = 0
    notes: list[str] = []
    passed: bool = False
    taken: str = ""
    version: str = ""
    load: str = ""


def figures(scenario: Scenario, outcome: Outcome, planned: int, seed: int) -> Figures:
    """Sum an outcome up."""
    found, times = outcome.findings, outcome.recoveries
    circumstances = results.circumstances()
    return Figures(
        fault=scenario.number,
        name=scenario.name,
        planned=planned,
        trials=outcome.trials,
        acknowledged=outcome.acknowledged,
        lost=found.lost.total(),
        doubled=found.doubled.total(),
        differing=found.differing.total(),
        fenced=outcome.said["fenced"],
        set_aside=outcome.set_aside,
        recoveries=(round(median(times), 1), round(max(times), 1)) if times else None,
        seed=seed,
        notes=outcome.notes,
        passed=scenario.passes(outcome),
        taken=circumstances["taken"],
        version=circumstances["version"],
        load=circumstances["load"],
    )


def not_run(scenario: Scenario, planned: int, reason: str) -> Figures:
    """Return the row of a scenario that was not run."""
    return Figures(fault=scenario.number, name=scenario.name, planned=planned, not_run=reason)


def all_pass(rows: Iterable[Figures], *, is_long: bool) -> bool:
    """Return whether a round is good; rows that were not run fail the long one alone."""
    return all(row.passed or (row.not_run and not is_long) for row in rows)


def as_saved(row: Figures) -> dict[str, Any]:
    """Return a row as the file has it."""
    saved: dict[str, Any] = to_builtins(row)
    return saved


def keep(file: str, rows: Iterable[Figures], scenarios: Iterable[Scenario]) -> None:
    """Write the rows of a round: the given ones, and for other scenarios those of before."""
    before = results.load(file) or {"figures": []}
    kept = {row.name: row for row in convert(before["figures"], list[Figures])}
    kept |= {row.name: row for row in rows}
    results.save(
        file,
        [
            as_saved(kept.get(one.name) or not_run(one, _planned(one, file), "not yet"))
            for one in scenarios
            if _planned(one, file)
        ],
    )


def _planned(scenario: Scenario, file: str) -> int:
    return scenario.long if file == LONG else scenario.short
