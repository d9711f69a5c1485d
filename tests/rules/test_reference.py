"""The reference fold against the contract, fact by fact, and against the rules."""

import itertools
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import pytest

from execstream.streams.commands import RunCommand
from execstream.streams.decoding import decode
from execstream.streams.events import encode_event, run_event
from execstream.streams.fold import evolve, new_run
from execstream.streams.rules import decide
from execstream.streams.state import Run
from execstream.streams.statuses import ExecutionStatus, is_allowed
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.reference import Outcome, Reference, read_event
from execstream.workload.simulation import Mix, load_graphs, simulate

Json = Any
RUN = "01900000-0000-7000-8000-000000000001"
STEP = "01900000-0000-7000-8000-0000000000aa"
OTHER_STEP = "01900000-0000-7000-8000-0000000000bb"
UNUSED = "01900000-0000-7000-8000-0000000000dd"
START = datetime(2026, 1, 5, 9, tzinfo=UTC)

# A way from creation (starting steps are QUEUED already) to each status.
WAY_OF_RUN = {
    "INCOMPLETE": [],
    "QUEUED": ["QUEUED"],
    "RUNNING": ["RUNNING"],
    "COMPLETED": ["RUNNING", "COMPLETED"],
    "TERMINATED": ["TERMINATED"],
    "FAILED": ["FAILED"],
    "REVIEW": ["RUNNING", "REVIEW"],
}
PAIRS = list(itertools.product(ExecutionStatus, ExecutionStatus))


class Producer:
    """Sends well-formed commands about one run, a second apart, to a reference."""

    def __init__(self, partition: int = 3) -> None:
        self.reference = Reference()
        self.partition = partition
        self._offset = 0

    def send(self, type_: str, **fields: Json) -> Outcome:
        """A command; `fields` replace its fields, `key` and `partition` too."""
        self._offset += 1
        command = {
            "type": type_,
            "id": f"01900000-0000-7000-9000-{self._offset:012x}",
            "at": (START + timedelta(seconds=self._offset)).isoformat(),
            "user_id": "ada",
            "graph_exec_id": RUN,
        }
        partition = fields.pop("partition", self.partition)
        command |= fields
        key = command["user_id"] if type_ == "kv.set" else command["graph_exec_id"]
        return self.put(json.dumps(command).encode(), key.encode(), partition)

    def put(self, value: bytes | None, key: bytes | None, partition: int = 3) -> Outcome:
        """A record as it is."""
        self._offset += 1
        return self.reference.feed(partition, self._offset, key, value)

    def create(self, *nodes: str, **fields: Json) -> Outcome:
        """`graph.create` with a starting step per node, each with an input."""
        starting = [{"node_id": n, "block_id": "b", "inputs": {"a": 1}} for n in nodes]
        about = {"graph_id": "g", "graph_version": 1, "starting_nodes": starting}
        return self.send("graph.create", **(about | fields))

    def open_step(self, step_id: str = STEP, node_id: str = "n", pin: str = "a") -> Outcome:
        """`node.input` that makes a step, unless one of the node lacks the pin."""
        fields = {"node_id": node_id, "block_id": "b", "input_name": pin, "input_data": 1}
        return self.send("node.input", **fields, new_node_exec_id=step_id)

    def move_step(self, status: str, step_id: str = STEP, **fields: Json) -> Outcome:
        """`node.update`, with execution data where it is needed."""
        data = {"execution_data": {"a": 1}} if status == "QUEUED" else {}
        return self.send(
            "node.update", **({"node_exec_id": step_id, "status": status} | data | fields)
        )

    @property
    def run(self) -> dict[str, Any]:
        """The row of the run."""
        return self.reference.runs[RUN]

    @property
    def step(self) -> dict[str, Any]:
        """The row of the step."""
        return self.reference.steps[RUN, STEP]

    def last_entries(self, count: int) -> list[dict[str, Any]]:
        """The last of the run's journal."""
        return self.reference.journal[RUN][-count:]


@pytest.fixture
def producer() -> Producer:
    producer = Producer()
    producer.create()
    return producer


@pytest.mark.parametrize(("was", "to"), PAIRS)
def test_runs_move_as_the_table_says(
    producer: Producer, was: ExecutionStatus, to: ExecutionStatus
) -> None:
    """Allowed moves happen with their times; others change nothing and return the reason."""
    for status in WAY_OF_RUN[was]:
        assert producer.send("graph.update", status=status).kind == "applied"
    before = dict(producer.run)

    outcome = producer.send("graph.update", status=to, stats={"cost": 1})

    if to == "INCOMPLETE":
        assert outcome == Outcome("refused", "not_a_target", {"wanted": to})
    elif not is_allowed(was, to):
        assert outcome.reason == "illegal_transition"
        assert isinstance(outcome.detail, dict)
        assert outcome.detail["found"] == was
        assert outcome.detail["wanted"] == to
    if not is_allowed(was, to):
        assert producer.run == before
        return
    assert producer.run["status"] == to
    assert producer.run["stats"] == {"cost": 1}
    is_over = to in ("COMPLETED", "FAILED", "TERMINATED")
    assert producer.run["ended_at"] == (producer.run["updated_at"] if is_over else None)


@pytest.mark.parametrize(("was", "to"), PAIRS)
def test_steps_move_as_the_table_says(
    producer: Producer, was: ExecutionStatus, to: ExecutionStatus
) -> None:
    """One by one and in a batch; each destination sets its own time."""
    producer.open_step()
    for status in WAY_OF_RUN[was]:
        assert producer.move_step(status).kind == "applied"
    before = dict(producer.step)

    outcome = producer.move_step(to)

    if not is_allowed(was, to):
        assert outcome.kind == "refused"
        assert producer.step == before
        return
    stamps = {"QUEUED": "queued_time", "RUNNING": "started_time"} | dict.fromkeys(
        ("COMPLETED", "FAILED"), "ended_time"
    )
    changed = {name for name in before if producer.step[name] != before[name]}
    assert changed - {"execution_data"} == {"status"} | ({stamps[to]} if to in stamps else set())


def test_start_is_a_move_to_running_that_always_stamps(producer: Producer) -> None:
    """`started_at` is of the last start; an update to RUNNING sets it only the first time."""
    producer.send("graph.update", status="RUNNING")
    first = producer.run["started_at"]
    producer.send("graph.update", status="REVIEW")
    producer.send("graph.update", status="RUNNING")
    assert producer.run["started_at"] == first

    assert producer.send("graph.start").reason == "illegal_transition"
    producer.send("graph.update", status="TERMINATED")
    producer.send("graph.start")

    assert producer.run["started_at"] == producer.run["updated_at"] > first
    assert producer.run["ended_at"] is None


def test_the_end_of_a_run_fails_what_runs(producer: Producer) -> None:
    """RUNNING steps only, oldest first, other stats kept, all under the run's command."""
    for step_id, node_id in ((OTHER_STEP, "m"), (STEP, "n")):
        producer.open_step(step_id, node_id)
        producer.move_step("RUNNING", step_id, stats={"cost": 2})
    producer.open_step("01900000-0000-7000-8000-0000000000cc", "o")

    producer.send("graph.update", status="TERMINATED")

    ended, first, second = producer.last_entries(3)
    assert [ended["type"], first["type"], second["type"]] == [
        "graph.updated",
        "node.updated",
        "node.updated",
    ]
    assert len({entry["command_id"] for entry in (ended, first, second)}) == 1
    assert (first["node_exec_id"], second["node_exec_id"]) == (OTHER_STEP, STEP)
    assert producer.step["status"] == "FAILED"
    assert producer.step["stats"] == {"cost": 2, "error": "graph_execution_terminated"}
    assert producer.step["ended_time"] == producer.run["ended_at"]


def test_a_refused_end_fails_nothing(producer: Producer) -> None:
    """COMPLETED is refused to a run that was never started; its step runs on."""
    producer.open_step()
    producer.move_step("RUNNING")

    assert producer.send("graph.update", status="COMPLETED").kind == "refused"

    assert producer.step["status"] == "RUNNING"


def test_a_value_goes_to_the_oldest_open_step_that_lacks_its_pin(producer: Producer) -> None:
    """Without one it opens a step, with the given id or one derived from the command's."""
    producer.open_step(STEP, pin="a")
    producer.open_step(OTHER_STEP, pin="a")
    value = {"node_id": "n", "block_id": "x", "input_name": "b", "input_data": None}

    producer.send("node.input", **value)
    assert producer.step["inputs"] == {"a": 1, "b": None}
    producer.send("node.input", **value)
    assert producer.reference.steps[RUN, OTHER_STEP]["inputs"] == {"a": 1, "b": None}
    producer.send("node.input", **value)

    added, given = producer.last_entries(2)
    assert added["node_exec_id"] == str(uuid5(UUID(added["command_id"]), "node"))
    assert (added["type"], added["status"]) == ("node.added", "INCOMPLETE")
    assert (given["type"], given["name"], given["source_index"]) == ("node.input_added", "b", 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node_exec_id": OTHER_STEP}, "unknown_node_execution"),
        ({"node_id": "m"}, "unknown_node_execution"),
        ({"input_name": "a"}, "input_already_there"),
        ({"node_exec_id": None, "input_name": "a", "new_node_exec_id": STEP}, "already_exists"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    producer: Producer, changes: dict[str, Any], reason: str
) -> None:
    """Each with its own reason."""
    producer.open_step()
    fields = {
        "node_id": "n",
        "block_id": "b",
        "input_name": "z",
        "input_data": 1,
        "node_exec_id": STEP,
    }

    assert producer.send("node.input", **(fields | changes)).reason == reason


def test_a_step_that_is_not_open_takes_no_input_but_any_output(producer: Producer) -> None:
    """Outputs are accepted in every status and appended in order."""
    producer.open_step()
    producer.move_step("FAILED")
    fields = {"node_id": "n", "block_id": "b", "input_name": "z", "input_data": 1}

    assert producer.send("node.input", node_exec_id=STEP, **fields).reason == "not_open_for_input"
    for value in (1, 1, None):
        producer.send("node.output", node_exec_id=STEP, output_name="o", output_data=value)

    assert producer.step["outputs"] == [("o", 1), ("o", 1), ("o", None)]


def test_starting_nodes_are_queued_with_their_inputs() -> None:
    """Ids without a name are derived by index; every input is an entry."""
    producer = Producer()
    producer.create("n", "m", inputs={"q": 1})

    entries = producer.reference.journal[RUN]
    assert [(entry["seq"], entry["type"]) for entry in entries] == [
        (1, "graph.created"),
        (2, "node.added"),
        (3, "node.input_added"),
        (4, "node.added"),
        (5, "node.input_added"),
    ]
    derived = str(uuid5(UUID(entries[0]["command_id"]), "starting/1"))
    step = producer.reference.steps[RUN, derived]
    assert (step["status"], step["queued_time"]) == ("QUEUED", step["added_time"])
    assert producer.run["status"] == "INCOMPLETE"


def test_a_step_id_used_twice_in_a_creation_refuses_all_of_it() -> None:
    """No run is made."""
    node = {"node_id": "n", "block_id": "b", "inputs": {}, "node_exec_id": STEP}
    producer = Producer()

    assert producer.create(starting_nodes=[node, node]).reason == "already_exists"

    assert producer.reference.runs == {}


def test_a_batch_moves_what_may_move(producer: Producer) -> None:
    """Repeats count once; when nothing moves the detail has the statuses found."""
    producer.open_step()
    producer.open_step(OTHER_STEP, "m")
    producer.move_step("FAILED", OTHER_STEP)
    ids = [STEP, OTHER_STEP, STEP, RUN]

    moved = producer.send("node.update_many", node_exec_ids=ids, status="TERMINATED")
    again = producer.send("node.update_many", node_exec_ids=ids, status="TERMINATED")
    unknown = producer.send("node.update_many", node_exec_ids=[RUN], status="RUNNING")
    queued = producer.send("node.update_many", node_exec_ids=[STEP], status="QUEUED")

    assert moved.kind == "applied"
    assert producer.step["status"] == "TERMINATED"
    assert again.detail == {
        "found": None,
        "wanted": "TERMINATED",
        "allowed_from": ["INCOMPLETE", "QUEUED", "RUNNING", "REVIEW"],
        "skipped": {STEP: "TERMINATED", OTHER_STEP: "FAILED", RUN: None},
    }
    assert unknown.reason == "unknown_node_execution"
    assert queued.reason == "missing_execution_data"


def test_a_command_has_its_effect_once(producer: Producer) -> None:
    """Its id sent again is a duplicate, even with other content; a refused one is judged afresh."""
    same = "01900000-0000-7000-9000-0000000000ff"

    assert producer.send("graph.update", status="COMPLETED", id=same).kind == "refused"
    assert producer.send("graph.update", status="RUNNING", id=same).kind == "applied"
    assert producer.send("graph.update", id=same).kind == "duplicate"
    assert producer.run["last_seq"] == 2


def test_reasons_are_told_in_the_contracts_order(producer: Producer) -> None:
    """The first of several that hold is returned."""
    known = "01900000-0000-7000-9000-0000000000ff"
    producer.send("graph.update", stats={}, id=known)
    stranger = {"user_id": "eve", "id": known}

    assert producer.send("graph.start", graph_exec_id=STEP).reason == "unknown_graph_execution"
    assert producer.send("graph.start", partition=4, **stranger).reason == "wrong_partition"
    assert producer.send("graph.start", **stranger).reason == "wrong_owner"
    assert producer.create(**stranger).reason == "wrong_owner"
    assert producer.create(id=known).kind == "duplicate"
    producer.send("graph.delete")
    assert producer.create().reason == "already_exists"
    assert producer.send("graph.update", status="INCOMPLETE").reason == "deleted"


def test_what_the_command_shows_comes_before_the_step(producer: Producer) -> None:
    """An unknown step is reported only when the command could be meant."""
    assert producer.send("graph.update").reason == "nothing_to_change"
    assert producer.send("graph.update", stats=None).reason == "nothing_to_change"
    assert producer.send("graph.update", stats={}).kind == "applied"
    assert producer.move_step("INCOMPLETE").reason == "not_a_target"
    assert producer.move_step("QUEUED", execution_data=None).reason == "missing_execution_data"
    assert producer.move_step("RUNNING").reason == "unknown_node_execution"


def test_sharing_keeps_the_hash_until_it_ends(producer: Producer) -> None:
    """The event never has it."""
    producer.send("graph.share", is_shared=True, share_token_hash="a" * 64)
    assert producer.run["share_token_hash"] == "a" * 64
    assert producer.run["shared_at"] == producer.run["updated_at"]

    producer.send("graph.share", is_shared=False)

    assert producer.run["share_token_hash"] is producer.run["shared_at"] is None
    assert all("share_token_hash" not in event for event in producer.reference.events()[3])
    assert producer.send("graph.share", is_shared=True).reason == "invalid_field"


def test_a_hard_delete_leaves_a_tombstone(producer: Producer) -> None:
    """Only it is taken after a soft one; nothing brings the run back."""
    producer.open_step()
    assert producer.send("graph.delete").kind == "applied"
    assert producer.send("graph.delete").reason == "deleted"
    last = "01900000-0000-7000-9000-0000000000ff"
    assert producer.send("graph.delete", hard=True, id=last).kind == "applied"

    assert producer.send("graph.delete", hard=True, id=last).kind == "duplicate"
    assert producer.send("graph.delete", hard=True).reason == "deleted"
    assert producer.create().reason == "already_exists"
    assert producer.reference.steps == {}
    (entry,) = producer.reference.journal[RUN]
    assert (entry["seq"], entry["type"]) == (producer.run["last_seq"], "graph.deleted")


def test_key_values_keep_the_newest() -> None:
    """Per user and key; older ones are refused, equal times replace, ids count per user."""
    producer = Producer()
    fields = {"key": "k", "node_exec_id": STEP, "at": "2026-01-05T10:00:00Z"}
    same = {"id": "01900000-0000-7000-9000-0000000000ff"}

    assert producer.send("kv.set", **fields, **same, data=1).kind == "applied"
    assert producer.send("kv.set", **fields, **same, data=2).kind == "duplicate"
    older = fields | {"at": "2026-01-05T10:59:59.999999+01:00"}
    assert producer.send("kv.set", **older, data=3).reason == "superseded"
    assert producer.send("kv.set", **fields, data=4).kind == "applied"
    assert producer.send("kv.set", **fields, **same, data=5, user_id="bob").kind == "applied"

    data = {place: row["data"] for place, row in producer.reference.kv.items()}
    assert data == {("ada", "k"): 4, ("bob", "k"): 5}
    assert [entry["data"] for entry in producer.reference.kv_journal] == [1, 4, 5]


def test_text_is_cleaned_and_numbers_are_kept(producer: Producer) -> None:
    """Control characters go from values, keys and pin names; digits stay, beyond a float's."""
    producer.open_step(pin="a\u0000b")
    value = '{"k\\u0007": ["x\\u0000y\\t", 1e400, 0.10000000000000000000000001]}'
    command = {"type": "node.output", "id": STEP, "at": "2026-01-05T09:00:00Z", "user_id": "ada"}
    about = {"graph_exec_id": RUN, "node_exec_id": STEP, "output_name": "o", "output_data": "@"}
    text = json.dumps(command | about).replace('"@"', value)

    assert producer.put(text.encode(), RUN.encode()).kind == "applied"

    assert producer.step["inputs"] == {"ab": 1}
    numbers = [Decimal("1e400"), Decimal("0.10000000000000000000000001")]
    assert producer.step["outputs"] == [("o", {"k": ["xy\t", *numbers]})]


GOOD: dict[str, Any] = {
    "type": "graph.update",
    "id": STEP,
    "at": "2026-01-05T09:00:00Z",
    "user_id": "ada",
    "graph_exec_id": RUN,
    "stats": {},
}


def changed(**fields: Json) -> bytes:
    return json.dumps(GOOD | fields).encode()


def with_stats(json_text: str, **fields: Json) -> bytes:
    return changed(stats="@", **fields).replace(b'"@"', json_text.encode())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"x" * (8 * 2**20 + 1), "too_large"),
        (b"[" * 100_000, "too_deep"),
        (with_stats('{"a":' * 128 + "1" + "}" * 128), "too_deep"),
        (None, "not_json"),
        (b"", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (with_stats('{"a": NaN}'), "not_json"),
        (with_stats('{"a": "\\ud800", "a": 1}'), "not_json"),
        (with_stats('{"a": ["\\udc00"]}'), "not_json"),
        (b'{"a": "\xc0\x80"}', "not_json"),
        (b'"text"', "not_an_object"),
        (changed(v=2, type="nope"), "unsupported_version"),
        (changed(type="nope", id=7), "unknown_type"),
        (changed(v="1"), "invalid_field"),
        (changed(id=STEP.upper()), "invalid_field"),
        (changed(user_id="a\u0001"), "invalid_field"),
        (changed(at="2026-01-05T24:00:00Z"), "invalid_field"),
        (changed(at="2026-01-05T09:00:60Z"), "invalid_field"),
        (changed(at="2026-01-05T09:00:00.1234567890Z"), "invalid_field"),
        (changed(at="2026-01-05T09:00:00+24:00"), "invalid_field"),
        (changed(at="2026-02-30T09:00:00Z"), "invalid_field"),
        (changed(at=1767603600), "invalid_field"),
        (changed(stats=[]), "invalid_field"),
        (changed(status="running"), "invalid_field"),
        (changed(graph_exec_id=STEP), "key_mismatch"),
        (with_stats('{"a": 0.' + "1" * 17_000 + "}"), "not_storable"),
        (with_stats('{"a": 1e131072}'), "not_storable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dead_letters_have_the_first_reason_that_holds(
    producer: Producer, value: bytes | None, reason: str
) -> None:
    """They change nothing and are kept byte for byte."""
    before = dict(producer.run)

    assert producer.put(value, RUN.encode()).reason == reason

    assert producer.run == before
    (letter,) = producer.reference.dead_letters
    assert (letter["value"], letter["reason"]) == (value, reason)


def test_a_record_without_a_key_is_dead(producer: Producer) -> None:
    """The key determines the order of a command."""
    assert producer.put(changed(), None).reason == "key_mismatch"


def test_what_is_at_a_limit_is_taken(producer: Producer) -> None:
    """128 levels, 16,383 fraction digits, a lower-case `t` and `z`, an offset of 23:59."""
    deep = with_stats('{"a":' * 127 + "1" + "}" * 127)
    precise = with_stats('{"a": 0.' + "1" * 16_383 + "}", id=UNUSED)
    lower = changed(id=OTHER_STEP, at="2026-01-05t09:00:00.5z")
    offset = changed(id=RUN, at="2026-01-05T09:00:00-23:59")

    outcomes = [producer.put(value, RUN.encode()).kind for value in (deep, precise, lower, offset)]

    assert outcomes == ["applied"] * 4
    assert producer.run["updated_at"] == datetime(2026, 1, 6, 8, 59, tzinfo=UTC)


def test_events_have_their_places_in_order(producer: Producer) -> None:
    """`source` grows within a partition, `seq` has no gap, refusals stand between."""
    producer.open_step()
    producer.move_step("COMPLETED")
    producer.move_step("RUNNING")

    events = producer.reference.events()[3]

    sources = [event["source"] for event in events]
    assert sources == sorted(sources)
    assert [event.get("seq") for event in events] == [1, 2, 3, None, 4]
    refused, moved = events[-2:]
    assert (refused["type"], refused["command_type"]) == ("command.refused", "node.update")
    assert (moved["was"], moved["status"], moved["node_id"]) == ("INCOMPLETE", "RUNNING", "n")
    assert moved["started_time"] == moved["at"]


def test_the_rules_and_the_reference_agree() -> None:
    """Over simulated traffic with bad records, run events come out the same from both."""
    mix = Mix(0.2, 0.1, 0.1, 0.1, duplicates=0.05, illegal=0.05, malformed=0.05)
    records = simulate(load_graphs(EXAMPLE_GRAPHS), runs=60, seed=11, start=START, mix=mix)
    reference = Reference()
    runs: dict[str, Run] = {}
    events: defaultdict[bytes, list[dict[str, Any]]] = defaultdict(list)

    for offset, record in enumerate(records):
        reference.feed(0, offset, record.key, record.value)
        command = decode(record.key, record.value)
        if not isinstance(command, RunCommand):
            continue
        entries = decide(run := runs.get(command.key), command)
        if not isinstance(entries, list):
            continue
        run = runs[command.key] = run or new_run(command.key, entries[0], 0)
        for index, entry in enumerate(entries):
            evolve(run, entry)
            event = encode_event(run_event(run, entry, (0, offset, index)))
            events[record.key].append(read_event(event))

    expected: defaultdict[bytes, list[dict[str, Any]]] = defaultdict(list)
    for event_ in reference.events()[0]:
        if "seq" in event_:
            expected[event_["graph_exec_id"].encode()].append(event_)
    assert events == expected
