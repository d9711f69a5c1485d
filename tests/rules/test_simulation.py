"""Records of `execstream.workload.simulation`, judged by the reference fold and by the rules."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest

from bench.graph_shapes import (
    all_shapes,
    chain,
    fan_out,
    map_over,
    parent_of,
    single,
)
from execstream.streams.commands import RunCommand
from execstream.streams.decoding import decode
from execstream.streams.fold import fold
from execstream.streams.state import Run
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.reference import Reference
from execstream.workload.simulation import (
    BadGraphError,
    Graph,
    Mix,
    Sent,
    catalogue,
    load_graphs,
    read_lines,
    simulate,
    write_lines,
)

GRAPHS = load_graphs(EXAMPLE_GRAPHS)
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
QUIET = Mix(failures=0, terminated=0, review=0, resumed=0)
ERROR_PINS = {
    "error",
    "Error",
    "missing",
    "client_error",
    "server_error",
    "stderr_logs",
    "No Keywords Found",
}


def sent(graphs: list[Graph], *, runs: int = 1, seed: int = 7, mix: Mix = QUIET) -> list[Sent]:
    return list(simulate(graphs, runs=runs, seed=seed, start=START, mix=mix))


def folded(records: Iterable[Sent]) -> Reference:
    reference = Reference()
    for offset, record in enumerate(records):
        reference.feed(0, offset, record.key, record.value)
    return reference


def statuses(reference: Reference) -> Counter[str]:
    return Counter(run["status"] for run in reference.runs.values())


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Ids, times and payloads all come from the seed; another seed gives others."""
    records = sent(GRAPHS, runs=40, mix=Mix.dirty())

    assert sent(GRAPHS, runs=40, mix=Mix.dirty()) == records
    assert sent(GRAPHS, runs=40, seed=8, mix=Mix.dirty()) != records


def test_all_commands_of_a_clean_mix_are_accepted() -> None:
    """Neither the reference nor the rules refuse any, whatever way the runs go."""
    mix = Mix(failures=0.2, terminated=0.1, review=0.1, resumed=0.1)
    records = sent([*GRAPHS, *all_shapes()], runs=150, mix=mix)

    reference = folded(records)
    assert reference.counts == {"applied": len(records), "duplicate": 0, "refused": 0, "dead": 0}
    runs: dict[bytes, Run] = {}
    for record in records:
        command = decode(record.key, record.value)
        if isinstance(command, RunCommand):
            outcome = fold(runs.get(record.key), command, 0)
            assert isinstance(outcome, tuple), outcome
            runs[record.key] = outcome[0]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_every_node_that_can_be_reached_runs(graph: Graph) -> None:
    """In a run without failures, only nodes fed by error pins alone are left out."""
    reference = folded(sent([graph]))

    assert set(statuses(reference)) == {"COMPLETED"}
    assert {run["graph_id"] for run in reference.runs.values()} == {
        each.id for each in (graph, *graph.sub_graphs)
    }
    completed = {
        step["node_id"] for step in reference.steps.values() if step["status"] == "COMPLETED"
    }
    assert {step["status"] for step in reference.steps.values()} <= {"COMPLETED", "INCOMPLETE"}
    for each in (graph, *graph.sub_graphs):
        for node in each.nodes:
            pins = [link.source_pin for link in each.links if link.sink == node.id]
            if node.block_type != "NOTE" and not (pins and ERROR_PINS.issuperset(pins)):
                assert node.id in completed, f"{node.block} {node.id} never completed"


def test_runs_have_inputs_and_outputs_by_name() -> None:
    """INPUT and OUTPUT steps carry `name` and `value`, which gives the run's outputs."""
    (calculator,) = (graph for graph in GRAPHS if graph.name == "calculator-agent")

    reference = folded(sent([calculator]))

    (run,) = reference.runs.values()
    types = {node.id: node.block_type for node in calculator.nodes}
    by_type = {types[step["node_id"]]: step for step in reference.steps.values()}
    given, told = by_type["INPUT"]["inputs"], by_type["OUTPUT"]["inputs"]
    assert run["inputs"] == {given["name"]: given["value"]}
    assert set(told) == {"name", "value"}
    assert by_type["OUTPUT"]["execution_data"] == told


def test_agents_run_children_of_their_own() -> None:
    """A child names its parent and ends before the step that started it."""
    reference = folded(sent([parent_of(3)]))

    parents = [run for run in reference.runs.values() if run["parent_graph_exec_id"] is None]
    children = [run for run in reference.runs.values() if run["parent_graph_exec_id"]]
    assert len(parents) == 1
    assert len(children) == 3
    assert {child["parent_graph_exec_id"] for child in children} == {parents[0]["id"]}
    ends = [
        step["ended_time"] for (run, _), step in reference.steps.items() if run == parents[0]["id"]
    ]
    assert max(child["ended_at"] for child in children) <= max(ends)


@pytest.mark.parametrize(
    ("graph", "runs", "steps"),
    [
        (single(), 1, 1),
        (chain(5), 1, 5),
        (fan_out(20), 1, 21),
        (map_over(200), 1, 201),
        (parent_of(3), 4, 4 + 3 * 3),
    ],
    ids=lambda value: value.name if isinstance(value, Graph) else "",
)
def test_shapes_run_as_many_steps_as_they_say(graph: Graph, runs: int, steps: int) -> None:
    """All of them COMPLETED, none left open."""
    simulation = simulate([graph], runs=1, seed=1, start=START, mix=QUIET)

    reference = folded(simulation)

    assert simulation.runs == len(reference.runs) == runs
    assert Counter(step["status"] for step in reference.steps.values()) == {"COMPLETED": steps}


def test_failed_runs_take_their_running_steps_with_them() -> None:
    """A run that fails midway cascades; its steps have no commands one by one."""
    reference = folded(sent(GRAPHS, runs=16, mix=Mix(1, 0, 0, 0)))

    assert set(statuses(reference)) == {"FAILED"}
    errors = {(step["stats"] or {}).get("error") for step in reference.steps.values()}
    assert "graph_execution_failed" in errors


def test_terminated_runs_put_their_open_steps_away() -> None:
    """Waiting steps are TERMINATED by `node.update_many`, running ones FAILED by the cascade."""
    records = sent(GRAPHS, runs=32, mix=Mix(0, 1, 0, 0))

    reference = folded(records)

    assert set(statuses(reference)) == {"TERMINATED"}
    left = Counter(step["status"] for step in reference.steps.values())
    assert left["TERMINATED"] > 0
    assert left["INCOMPLETE"] == left["QUEUED"] == left["RUNNING"] == left["REVIEW"] == 0
    assert any(b'"node.update_many"' in record.value for record in records)


@pytest.mark.parametrize(
    ("mix", "on_the_way"),
    [(Mix(0, 0, 1, 0), "REVIEW"), (Mix(0, 0, 0, 1), "TERMINATED")],
    ids=["review", "resumed"],
)
def test_held_runs_are_taken_up_again_and_complete(mix: Mix, on_the_way: str) -> None:
    """REVIEW and TERMINATED are passed through by run and step, and all end well."""
    reference = folded(sent([chain(5), fan_out(5)], runs=20, mix=mix))

    assert statuses(reference) == {"COMPLETED": 20}
    assert {step["status"] for step in reference.steps.values()} == {"COMPLETED"}
    for entries in reference.journal.values():
        moves = [(bool(entry["node_exec_id"]), entry["status"]) for entry in entries]
        assert (False, on_the_way) in moves
    passed = {
        entry["status"]
        for entries in reference.journal.values()
        for entry in entries
        if entry["node_exec_id"]
    }
    assert on_the_way in passed


def test_time_never_goes_back_and_ids_are_of_their_time() -> None:
    """`at` grows over all runs; command ids are UUIDv7 of that millisecond."""
    commands = [json.loads(record.value) for record in sent(GRAPHS, runs=16)]

    times = [command["at"] for command in commands]
    assert times == sorted(times)
    for command in commands:
        at = datetime.fromisoformat(command["at"])
        assert UUID(command["id"]).version == 7
        assert UUID(command["id"]).int >> 80 == int(at.timestamp() * 1000)
    assert len({command["id"] for command in commands}) == len(commands)


def test_time_is_never_later_than_it_may_be() -> None:
    """Commands that simulated time would date later have the latest time, and still never go
    back."""
    latest = START + timedelta(seconds=2)
    records = list(simulate(GRAPHS, runs=8, seed=7, start=START, latest=lambda: latest))
    times = [datetime.fromisoformat(json.loads(record.value)["at"]) for record in records]
    assert times == sorted(times)
    assert times[0] < latest == times[-1]


def test_runs_interleave() -> None:
    """Commands of several runs stand between each other."""
    records = sent([chain(5)], runs=20)

    changes = sum(one.key != other.key for one, other in pairwise(records))
    assert changes > 5 * 20


def test_payloads_and_owners_are_spread_as_measured() -> None:
    """Half of the values are below 600 B, a tenth above 1.5 kB; the first owner has most runs."""
    reference = folded(sent(GRAPHS, runs=200))

    sizes = sorted(
        len(json.dumps(value, ensure_ascii=False, default=str).encode())
        for step in reference.steps.values()
        for _, value in step["outputs"]
    )
    assert 350 < sizes[len(sizes) // 2] < 600
    assert 1_500 < sizes[len(sizes) * 9 // 10] < 2_800
    owners = Counter(run["user_id"] for run in reference.runs.values())
    assert owners.most_common(1)[0][0] == "user-0001"


def test_a_dirty_mix_leaves_the_clean_commands_as_they_are() -> None:
    """Duplicates, illegal and malformed records come in between and have no effect."""
    clean = sent(GRAPHS, runs=30, mix=Mix())
    dirty = sent(GRAPHS, runs=30, mix=Mix(duplicates=0.1, illegal=0.1, malformed=0.1))

    of_clean, of_dirty = folded(clean), folded(dirty)
    assert of_dirty.counts["applied"] == len(clean)
    assert all(of_dirty.counts[kind] > 0 for kind in ("duplicate", "refused", "dead"))
    assert of_dirty.runs == of_clean.runs
    assert of_dirty.steps == of_clean.steps
    assert of_dirty.kv == of_clean.kv


@pytest.mark.slow
def test_the_field_mix_has_the_shares_of_the_field() -> None:
    """Bytes per command, text that is not ASCII, escaped backslashes, odd records and entries."""
    records = sent(GRAPHS, runs=300, mix=Mix.field())
    reference = folded(records)

    count = len(records)
    assert sum(len(record.value) for record in records) / count == pytest.approx(471, abs=10)
    share = sum(not record.value.isascii() for record in records) / count
    assert share == pytest.approx(0.49, abs=0.04)
    share = sum(rb"\\u0000" in record.value for record in records) / count
    assert share == pytest.approx(0.36, abs=0.02)
    odd = count - reference.counts["applied"]
    assert odd / count == pytest.approx(0.01, abs=0.002)
    entries = sum(len(entries) for entries in reference.journal.values())
    assert entries / count == pytest.approx(1.17, abs=0.1)


def test_lines_of_a_file_are_the_records_again(tmp_path: Path) -> None:
    """Key and value survive the way through a file, `kv.set` with its user's key."""
    records = sent(GRAPHS, runs=60)
    file = tmp_path / "commands.jsonl"

    assert write_lines(file, records) == len(records)

    assert list(read_lines(file)) == records
    assert any(b'"kv.set"' in record.value for record in records)


def test_the_catalogue_names_every_block_and_graph_once() -> None:
    """Sub graphs are among them; keys are those of the topic."""
    entries = list(catalogue(GRAPHS))

    keys = [key for key, _ in entries]
    assert len(set(keys)) == len(keys)
    graphs = [each for graph in GRAPHS for each in (graph, *graph.sub_graphs)]
    blocks = {node.block_id for graph in graphs for node in graph.nodes}
    assert set(keys) == {f"block:{block}" for block in blocks} | {
        f"graph:{graph.id}:{graph.version}" for graph in graphs
    }
    assert all(value["name"] for _, value in entries)


LOOSE_LINK = """{"id": "g", "version": 1, "nodes": [], "links": [
    {"source": "a", "source_pin": "x", "sink": "b", "sink_pin": "y"}]}"""
NO_SUB_GRAPH = """{"id": "g", "version": 1, "links": [], "nodes": [
    {"id": "n", "block_id": "b", "block": "B", "block_type": "AGENT", "sub_graph_id": "h"}]}"""
RUNS_ITSELF = NO_SUB_GRAPH.replace('"h"', '"g"').replace(
    '"links": []',
    '"links": [], "sub_graphs": [{"id": "g", "version": 1, "nodes": [], "links": []}]',
)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "holds no *.json file"),
        ("[1]", "is no graph"),
        (LOOSE_LINK, "leads to a node"),
        (NO_SUB_GRAPH, "not among its sub_graphs"),
        (RUNS_ITSELF, "never ends"),
    ],
    ids=["empty", "no graph", "loose link", "no sub graph", "runs itself"],
)
def test_bad_graphs_are_told_with_the_way_out(
    tmp_path: Path, content: str | None, complaint: str
) -> None:
    """The error names the file or node and the remedy."""
    if content is not None:
        (tmp_path / "graph.json").write_text(content)

    with pytest.raises(BadGraphError) as error:
        load_graphs(tmp_path)

    assert complaint in str(error.value)
