"""The kept figures of docs/faults.md."""

from pathlib import Path
from typing import cast

import pytest
from msgspec import convert

from bench.results import load
from docs import fault_table
from execstream.devstack import Stack
from tests.faults.__main__ import run_one
from tests.faults.needs import Unavailable
from tests.faults.other_trials import try_sequences
from tests.faults.rounds import LONG, SHORT, Figures, all_pass, as_saved, figures
from tests.faults.scenarios import CONTROL, Scenario
from tests.faults.table import SCENARIOS
from tests.faults.trial import Outcome


def kept(file: str) -> list[Figures]:
    saved = load(file)
    return convert(saved["figures"], list[Figures]) if saved else []


@pytest.mark.parametrize("file", [SHORT, LONG])
def test_the_rows_are_those_of_the_scenarios(file: str) -> None:
    """Each scenario of the round has a row, in the order of the table."""
    planned = [one.name for one in SCENARIOS if (one.long if file == LONG else one.short)]
    assert [row.name for row in kept(file)] == planned


@pytest.mark.parametrize("file", [SHORT, LONG])
def test_only_controls_lose(file: str) -> None:
    """No row has a loss, a double or a difference but those of the controls, which have losses."""
    for row in kept(file):
        if row.not_run:
            continue
        if row.fault == "control":
            assert row.lost + row.differing > 0, row
        else:
            assert row.lost + row.doubled + row.differing + row.set_aside == 0, row
            assert row.passed, row


async def test_a_fault_that_this_machine_cannot_do() -> None:
    """Its row names the reason, and fails the long round alone."""

    async def run(*_: object) -> Outcome:
        raise Unavailable("only root can")

    scenario = Scenario("F0", 1, 2, "a fault", run)
    row = await run_one(scenario, stack=cast(Stack, None), state=Path(), seed=1, times=2)

    assert row.not_run == "only root can"
    assert fault_table.cells(as_saved(row))[2] == "*not run* of 2: only root can"
    assert all_pass([row], is_long=False)
    assert not all_pass([row], is_long=True)


@pytest.mark.parametrize("lost", [0, 3])
def test_a_control_must_lose(lost: int) -> None:
    """A loss fails a scenario, and the lack of one fails a control."""
    outcome = Outcome()
    for _ in range(lost):
        outcome.findings.note("lost", "rows", "one")
    for number, passes in (("F1", lost == 0), (CONTROL, lost > 0)):
        scenario = Scenario(number, 1, 1, "a fault", try_sequences)
        assert figures(scenario, outcome, 1, 1).passed is passes


def test_scenarios_have_names_of_their_own() -> None:
    """A name is the key of a row."""
    names = [one.name for one in SCENARIOS]
    assert len(names) == len(set(names))
