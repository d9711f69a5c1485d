"""Point-in-time reads: `show --as-of`, `list --as-of`, `diff` and `explain`, by the program."""

from datetime import timedelta
from typing import Any

import pytest

from execstream.recovery.run_diff import Change, differences
from tests.orders import DAWN
from tests.recovery.told import Told
from tests.whole.program import Program

pytestmark = pytest.mark.usefixtures("worker")

Json = Any


def second(number: float) -> str:
    return f"{(DAWN + timedelta(seconds=number)).isoformat()[:-6]}Z"


# ---- show, list, diff --------------------------------------------------------------------------


async def test_show_as_of(program: Program, told: Told) -> None:
    """The run as it was, by the number of an entry or by a time."""
    shown = (await program("show", told.orders.run_id, "--as-of", "4", "--json")).json()
    [step] = shown["node_executions"]
    assert (shown["status"], step["status"], step["output_data"]) == ("RUNNING", "RUNNING", {})
    printed = await program("show", told.orders.run_id, "--as-of", second(4.5))
    assert (printed.code, "COMPLETED" in printed.out) == (0, False)


async def test_list_as_of(program: Program, told: Told) -> None:
    """The list has the runs of that time, in their status then."""
    asked = ("list", "--user", "ada-told", "--json", "--as-of")
    [run] = (await program(*asked, second(5), "--status", "RUNNING")).json_lines()
    assert run["id"] == told.orders.run_id
    assert (await program(*asked, second(0))).out == ""


async def test_diff(program: Program, told: Told) -> None:
    """Fields of the run, steps that came, and items of inputs, outputs and stats."""
    found = (await program("diff", told.orders.run_id, "4", second(12), "--json")).json()
    changes = {
        (change["node_id"], change["field"]): (change["was"], change["is_now"])
        for change in found["changes"]
    }
    assert changes[None, "status"] == ("RUNNING", "COMPLETED")
    assert changes[None, "stats.cost"] == (None, 3)
    assert changes["a", "status"] == ("RUNNING", "FAILED")
    assert changes["a", "output_data.page"] == (None, ["one", "two"])
    assert changes["b", "step"] == (None, "FAILED")
    assert changes["b", "input_data.text"] == (None, "one")
    assert ("a", "start_time") not in changes
    table = await program("diff", told.orders.run_id, "4", "5")
    assert "output_data.page" in table.out
    assert "Nothing changed." in (await program("diff", told.orders.run_id, "4", "4")).out


def test_differences_backwards() -> None:
    """The same ones, the other way round; a step that came is one that went."""
    step = {"node_exec_id": "s", "node_id": "a", "status": "QUEUED", "input_data": {"in": 1}}
    then: Json = {"status": "INCOMPLETE", "stats": None, "node_executions": []}
    now: Json = {"status": "RUNNING", "stats": {"cost": 3}, "node_executions": [step]}
    there, back = differences(then, now), differences(now, then)
    assert there == [
        Change(None, None, "status", "INCOMPLETE", "RUNNING"),
        Change(None, None, "stats.cost", None, 3),
        Change("s", "a", "step", None, "QUEUED"),
        Change("s", "a", "input_data.in", None, 1),
    ]
    assert [one._replace(was=one.is_now, is_now=one.was) for one in back] == there
    assert differences(now, now) == []


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        ("99", "has 12 entries so far"),
        ("yesterday", "'yesterday' is no moment"),
        (second(0), "There was no run"),
    ],
)
async def test_no_such_moment(program: Program, told: Told, moment: str, says: str) -> None:
    """A sentence, and exit code 1."""
    failed = await program("show", told.orders.run_id, "--as-of", moment)
    assert (failed.code, failed.out) == (1, "")
    assert says in failed.err


async def test_list_as_of_an_entry(program: Program) -> None:
    """Entries are numbered in each run: a list wants a time."""
    failed = await program("list", "--as-of", "12")
    assert (failed.code, "no moment" in failed.err) == (1, True)
