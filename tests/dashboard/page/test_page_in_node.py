"""The page's modules without a browser: exact numbers, figures, and its fold of a run.

The fold is compared with the answers of the server. Commands of the simulator, with odd names and
values and with moderation, go through the rules to events, which the page folds into a snapshot,
and into the reference, of which the run is read as `GraphExecutionWithNodes`. A run's `inputs` are
left out: the page shows those of the snapshot.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from execstream.recovery.run_diff import differences
from execstream.streams import exact_json
from execstream.streams.commands import RunCommand
from execstream.streams.decoding import decode
from execstream.streams.events import encode_event, run_event
from execstream.streams.fold import fold
from execstream.streams.outcomes import Refused
from execstream.streams.state import Run
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.reference import Reference
from execstream.workload.simulation import Mix, Sent, catalogue, load_graphs, simulate
from tests.dashboard.page.nodejs import Node, node_at
from tests.orders import DAWN
from tests.storage.expected import Expected, exact

Json = Any

GRAPHS = load_graphs(EXAMPLE_GRAPHS)
MIX = Mix(failures=0.2, terminated=0.1, review=0.1, resumed=0.2)
MOST_BYTES = 8 * 2**20
NAMES = (
    *("constructor", "__proto__", "toString", "hasOwnProperty", "valueOf", "then", "length"),
    *("", " ", "0", "10", "2", "a.b", "[/x]", "<b>", "é", "\U0001f600", "$", "name", "value"),
)
VALUES = (
    *(None, True, "", "text", [], [[1]], {}, {"constructor": 1}, {"__proto__": {"a": 1}}),
    *(2**53, 2**53 + 1, 10**30 + 1, 0.1, 0.011095900270609436, 1e300),
    *map(Decimal, ("0.10000000000000000000001", "1e400", "-1e-400", "12345678.123456789012")),
)
MODULES = ("changes", "exact", "format", "layout", "links", "route", "state", "stream")
SHARE = 0.3  # of names and values that are odd


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Node.js with the page at hand."""
    return node_at(tmp_path_factory.mktemp("node"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module(node: Node, module: str) -> None:
    """The module's own tests pass."""
    node.run("--test", f"tests/{module}.test.mjs")


# ---- the fold ------------------------------------------------------------------------------


@dataclass
class Watched:
    """A run from a snapshot on."""

    snapshot: Json
    events: list[Json] = field(default_factory=list)


@pytest.mark.parametrize("seed", range(3))
def test_the_fold_is_what_the_server_answers(node: Node, seed: int) -> None:
    """A run that is watched, from its first command or a later one, looks as if it were loaded."""
    chance = random.Random(seed)
    graphs = chance.sample(GRAPHS, 8)
    kinds = {
        definition["block_id"]: definition["block_type"]
        for _, definition in catalogue(graphs)
        if definition["type"] == "block.define"
    }
    reference, watched = _watched(_records(chance, graphs, seed), chance, kinds)
    given, shown = node.place / f"runs-{seed}.json", node.place / f"shown-{seed}.json"
    cases = [{"snapshot": one.snapshot, "events": one.events} for one in watched]
    given.write_bytes(exact_json.encode({"kinds": kinds, "runs": cases}))

    node.run("tests/fold.mjs", str(given), str(shown))

    expected = Expected(reference, kinds)
    pages = exact_json.decode(shown.read_bytes())
    assert isinstance(pages, list)
    assert len(pages) == len(watched) > 40
    seen = {pin for page in pages for step in page["node_executions"] for pin in step["input_data"]}
    assert {"constructor", "__proto__", "toString"} <= seen
    assert {name for page in pages for name in page["outputs"]} & set(NAMES)
    for one, page in zip(watched, pages, strict=True):
        run = reference.runs[one.snapshot["id"]]
        assert page.pop("is_deleted") == run["is_deleted"]
        if not run["is_deleted"]:
            _compare(page, _read(expected, reference, run), one.snapshot)


@pytest.mark.parametrize("seed", range(2))
def test_changes_are_those_of_diff(node: Node, seed: int) -> None:
    """The page finds the changes that `execstream diff` does, and has one line for a new step."""
    chance = random.Random(seed)
    reference, watched = _watched(_records(chance, chance.sample(GRAPHS, 8), seed), chance, {})
    expected = Expected(reference, {})
    cases = [
        {"before": one.snapshot, "after": _turned(_read(expected, reference, run))}
        for one in watched
        if not (run := reference.runs[one.snapshot["id"]])["is_deleted"]
    ]
    given, found = node.place / f"pairs-{seed}.json", node.place / f"changes-{seed}.json"
    given.write_bytes(exact_json.encode(cases))

    node.run("tests/changes_of.mjs", str(given), str(found))

    pages = exact_json.decode(found.read_bytes())
    assert isinstance(pages, list)
    assert sum(map(len, pages)) > 400
    for case, page in zip(cases, pages, strict=True):
        changes = differences(case["before"], case["after"])
        new = {one.node_exec_id for one in changes if one.field == "step"}
        wanted = [
            [one.node_exec_id, one.field, one.was, one.is_now]
            for one in changes
            if one.field == "step" or one.node_exec_id not in new
        ]
        assert exact(sorted(page, key=_place)) == exact(sorted(wanted, key=_place))


def _turned(value: Json) -> Json:
    """The same document with the members of objects in another order."""
    if isinstance(value, dict):
        return {name: _turned(value[name]) for name in reversed(value)}
    return [_turned(one) for one in value] if isinstance(value, list) else value


def _place(change: Json) -> tuple[str, str]:
    return change[0] or "", change[1]


def _compare(page: Json, whole: Json, snapshot: Json) -> None:
    """Steps that had been moderated by the snapshot, and are not any more, keep the messages."""
    before = {step["node_exec_id"]: step for step in snapshot["node_executions"]}
    steps, outputs = page.pop("node_executions"), page.pop("outputs")
    assert [step["node_exec_id"] for step in steps] == [
        step["node_exec_id"] for step in whole["node_executions"]
    ]
    hidden = False
    for step, read in zip(steps, whole["node_executions"], strict=True):
        first = before.get(step["node_exec_id"], {})
        for values, cleared in (
            ("input_data", "cleared_inputs"),
            ("output_data", "cleared_outputs"),
        ):
            if (first.get("stats") or {}).get(cleared) and not (read["stats"] or {}).get(cleared):
                read[values] = first[values]
                hidden = True
        assert exact(step) == exact({name: read[name] for name in step})
    assert exact(page) == exact({name: whole[name] for name in page})
    if not hidden:
        assert exact(outputs) == exact(whole["outputs"])


def _watched(
    records: Iterator[Sent], chance: random.Random, kinds: dict[str, str]
) -> tuple[Reference, list[Watched]]:
    """The results of the commands; each run is watched from its creation and from later on."""
    reference = Reference(MOST_BYTES)
    runs: dict[str, Run] = {}
    watched: dict[str, list[Watched]] = {}
    for offset, record in enumerate(records):
        command = decode(record.key, record.value, MOST_BYTES)
        reference.feed(0, offset, record.key, record.value)
        if not isinstance(command, RunCommand):
            continue
        result = fold(runs.get(command.graph_exec_id), command, 0)
        if not isinstance(result, tuple):
            assert isinstance(result, Refused)
            continue
        run, entries = result
        runs[run.id] = run
        events = [
            exact_json.decode(encode_event(run_event(run, entry, (0, offset, index))))
            for index, entry in enumerate(entries)
        ]
        whole = reference.runs[run.id]
        for one in watched.setdefault(run.id, []):
            one.events += events
        is_first = not watched[run.id]
        is_later = len(watched[run.id]) == 1 and chance.random() < 0.1
        if (is_first or is_later) and not whole["is_deleted"]:
            snapshot = _read(Expected(_only(reference, run.id), kinds), reference, whole)
            watched[run.id].append(Watched(snapshot))
    return reference, [one for of_run in watched.values() for one in of_run]


def _only(reference: Reference, run_id: str) -> Reference:
    """A view of the reference that holds one run, which is faster to read."""
    view = Reference(MOST_BYTES)
    view.runs = {run_id: reference.runs[run_id]}
    view._steps = {run_id: reference._steps[run_id]}
    return view


def _read(expected: Expected, reference: Reference, run: Json) -> Json:
    """`GraphExecutionWithNodes` as the server sends it."""
    whole = expected.whole(run)
    steps = reference._steps[run["id"]]
    for step in whole["node_executions"]:
        stats = steps[step["node_exec_id"]]["stats"]
        step["stats"] = stats
        if cleared := (stats or {}).get("cleared_outputs"):
            step["output_data"] = cleared
    return exact_json.decode(exact_json.encode(whole))


def _records(chance: random.Random, graphs: Json, seed: int) -> Iterator[Sent]:
    """Simulated commands with odd names, odd values and moderation."""
    sent = simulate(graphs, runs=30, seed=seed, start=DAWN, mix=MIX, interleave=10, owners=4)
    for record in sent:
        command = exact_json.decode(record.value)
        yield record._replace(value=exact_json.encode(_odd(command, chance)))


def _odd(command: Json, chance: random.Random) -> Json:
    match command["type"]:
        case "graph.create":
            for node in command["starting_nodes"]:
                node["inputs"] = _odd_pins(node["inputs"], chance)
        case "node.input":
            [(name, data)] = _odd_pins(
                {command["input_name"]: command["input_data"]}, chance
            ).items()
            command |= {"input_name": name, "input_data": data}
        case "node.output":
            [(name, data)] = _odd_pins(
                {command["output_name"]: command["output_data"]}, chance
            ).items()
            command |= {"output_name": name, "output_data": data}
        case "node.update":
            if command.get("execution_data"):
                command["execution_data"] = _odd_pins(command["execution_data"], chance)
            if "stats" in command and chance.random() < SHARE / 3:
                command["stats"] = command["stats"] | {
                    "cleared_inputs": {chance.choice(NAMES): ["no", "never"]},
                    "cleared_outputs": {chance.choice(NAMES): ["gone", "for good"]},
                }
    return command


def _odd_pins(pins: dict[str, Json], chance: random.Random) -> dict[str, Json]:
    """The names of OUTPUT steps stay pins called `name`; their values are odd as well."""
    odd = {}
    for name, value in pins.items():
        is_kept = name in ("name", "value") or chance.random() > SHARE
        oddity = chance.choice(NAMES if name == "name" and chance.random() < 0.7 else VALUES)
        odd[name if is_kept else chance.choice(NAMES)] = (
            oddity if chance.random() < SHARE else value
        )
    return odd
