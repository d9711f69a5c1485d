"""The output of `show`, `list` and `alerts list`, and their omissions."""

import json

import pytest

from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation, Worker

EXACT = b"0.10000000000000000001"  # no float is this number


@pytest.mark.parametrize("limit", ["0", "-1"])
@pytest.mark.parametrize("command", [("list",), ("alerts", "list")])
async def test_lists_have_at_least_one_line(
    program: Program, command: tuple[str, ...], limit: str
) -> None:
    """A limit below 1 is a wrong command line."""
    told = await program(*command, "--limit", limit)
    assert (told.code, told.out) == (2, "")
    assert "--limit" in told.err


async def test_show_tells_why(program: Program, place: Installation, worker: Worker) -> None:
    """Errors of the run and of a step, the step's block by name, numbers as they were sent."""
    assert worker.is_alive
    orders = Orders()
    node = orders.node("n", inputs={"a": 1})
    created = orders.create(node, inputs={"x": "EXACT"})
    assert created.value
    await place.put(
        [
            created._replace(value=created.value.replace(b'"EXACT"', EXACT)),
            orders.start(),
            orders.move_step("n", "RUNNING"),
            orders.move_step("n", "FAILED", stats={"error": "no such host"}),
            orders.move("FAILED", stats={"error": "all is lost"}),
        ]
    )
    await place.db.execute(
        "insert into block values ($1, 'Fetch a page', 'STANDARD')", node["block_id"]
    )
    await place.drained()

    told = (await program("show", orders.run_id)).out

    assert "error    all is lost" in told
    assert "Fetch a page" in told
    assert "no such host" in told
    for command in (("show", orders.run_id), ("list",)):
        assert f'"x":{EXACT.decode()}' in (await program(*command, "--json")).out


async def test_a_list_of_runs_with_an_attribute(
    program: Program, place: Installation, worker: Worker
) -> None:
    """`--attribute` may be repeated; a text without a key is a sentence."""
    assert worker.is_alive
    tagged, other = Orders(), Orders()
    attributes = {"env": "prod", "team": "a=b"}
    await place.put([tagged.create(attributes=attributes), other.create(attributes={"env": "x"})])
    await place.drained()

    asked = ("list", "--attribute", "env=prod", "--attribute", "team=a=b", "--json")
    [line] = (await program(*asked)).out.splitlines()

    assert (json.loads(line)["id"], json.loads(line)["attributes"]) == (tagged.run_id, attributes)
    told = await program("list", "--attribute", "env")
    assert (told.code, told.out) == (1, "")
    assert "KEY=VALUE" in told.err


async def test_many_runs_are_deleted_after_their_number(
    program: Program, place: Installation, worker: Worker
) -> None:
    """Nothing is sent without --yes, nor without a filter; each outcome is a line of JSON."""
    assert worker.is_alive
    runs = [Orders() for _ in range(2)]
    await place.put([orders.create(attributes={"release": "r1"}) for orders in runs])
    await place.drained()
    asked = ("bulk", "delete", "--attribute", "release=r1")

    assert "delete 2 runs: add --yes" in (await program(*asked)).out
    assert (await program(*asked, "--json")).json() == {"action": "delete", "runs": 2}
    told = await program(*asked, "--yes", "--json")

    lines = map(json.loads, told.out.splitlines())
    outcomes = {line["graph_exec_id"]: line["outcome"] for line in lines}
    assert (told.code, outcomes) == (0, {orders.run_id: "applied" for orders in runs})
    assert "delete 0 runs" in (await program(*asked)).out
    refused = await program("bulk", "delete", "--yes")
    assert (refused.code, "at least one filter" in refused.err) == (1, True)


async def test_lists_that_are_cut_say_so(
    program: Program, place: Installation, worker: Worker
) -> None:
    """The reader of a part of the runs or alerts gets a note about the rest."""
    assert worker.is_alive
    await place.put([Orders().create(), Orders().create()])
    await place.db.execute(
        "insert into alert (subject, kind, severity, graph_exec_id, figures)"
        " select n, 'stuck', 'warning', gen_random_uuid(), $1 from generate_series(1, 2) n",
        json.dumps(
            {"node_exec_id": None} | {at: {"seconds": 60} for at in ("at_open", "worst", "now")}
        ),
    )
    await place.drained()
    for command in (("list",), ("alerts", "list")):
        cut = await program(*command, "--limit", "1", "--json")
        assert (len(cut.json_lines()), cut.err) == (1, "There are more: raise --limit.\n")
        assert (await program(*command, "--limit", "1000", "--json")).err == ""
