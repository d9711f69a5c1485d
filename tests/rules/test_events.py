"""Events: the fields of each type on the wire, and nothing else."""

import json
from typing import Any

import pytest
from msgspec import Raw

from execstream.streams.commands import RunCommand, SetKeyValue
from execstream.streams.decoding import decode
from execstream.streams.events import (
    MAX_EVENT_BYTES,
    Event,
    decode_event,
    encode_event,
    key_value_event,
    refused_event,
    run_event,
)
from execstream.streams.fold import evolve, new_run
from execstream.streams.outcomes import Refusal, Refused
from execstream.streams.rules import decide
from execstream.streams.state import Run
from tests.orders import DAWN, Order, Orders

COMMON = {"type", "at", "command_id", "source", "user_id"}
OF_RUN = COMMON | {"seq", "graph_exec_id", "graph_id", "graph_version"}
OF_STEP = OF_RUN | {"node_exec_id", "node_id", "block_id"}


class Telling:
    """One run, and its events."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.orders = Orders()

    def tell(self, order: Order) -> list[dict[str, Any]]:
        command = decode(order.key, order.value)
        assert isinstance(command, RunCommand)
        entries = decide(self.run, command)
        assert isinstance(entries, list), entries
        if self.run is None:
            self.run = new_run(command.graph_exec_id, entries[0], 0)
        told = []
        for index, entry in enumerate(entries):
            evolve(self.run, entry)
            told.append(json.loads(encode_event(run_event(self.run, entry, (0, 7, index)))))
        return told


@pytest.fixture
def telling() -> Telling:
    return Telling()


def test_a_creation(telling: Telling) -> None:
    """The run, then each starting step, QUEUED already, with its inputs in the sent order."""
    o = telling.orders
    node = o.node("n", inputs={"b": {"x": 1.50}, "a": None})

    created, added, first, second = telling.tell(
        o.create(node, inputs={"q": 1}, preset_id="p", parent_graph_exec_id=o.named("parent"))
    )

    about = {"inputs", "preset_id", "parent_graph_exec_id"}
    assert created.keys() == OF_RUN | {"status"} | about
    assert (created["status"], created["inputs"]) == ("INCOMPLETE", {"q": 1})
    assert added.keys() == OF_STEP | {"status", "added_time", "queued_time"}
    assert (added["status"], added["queued_time"]) == ("QUEUED", added["at"])
    assert first.keys() == second.keys() == OF_STEP | {"name", "data"}
    assert [(one["name"], one["data"]) for one in (first, second)] == [
        ("b", {"x": 1.5}),
        ("a", None),
    ]
    sources = [event["source"] for event in (created, added, first, second)]
    assert sources == [[0, 7, 0], [0, 7, 1], [0, 7, 2], [0, 7, 3]]


def test_moves(telling: Telling) -> None:
    """An event has both statuses, with all times after the move."""
    o = telling.orders
    telling.tell(o.create(o.node("n")))

    (started,) = telling.tell(o.start())
    (running,) = telling.tell(o.move_step("n", "RUNNING"))
    (reviewed,) = telling.tell(o.move_step("n", "REVIEW", stats={}, execution_data={}))
    telling.tell(o.move_step("n", "RUNNING"))
    ended, failed = telling.tell(o.move("FAILED"))

    assert started.keys() == OF_RUN | {"was", "status", "started_at", "ended_at"}
    assert (started["started_at"], started["ended_at"]) == (started["at"], None)
    times = {"added_time", "queued_time", "started_time"}
    assert running.keys() == OF_STEP | {"was", "status"} | times
    assert reviewed.keys() == running.keys() | {"stats", "execution_data"}
    assert ended["ended_at"] == failed["ended_time"] == ended["at"]
    assert failed["stats"] == {"error": "graph_execution_failed"}


def test_stats_alone_are_no_move(telling: Telling) -> None:
    """`was` and `status` are there only when the status changed."""
    o = telling.orders
    telling.tell(o.create())
    (told,) = telling.tell(o.order("graph.update", stats={"cost": 1}))
    assert told.keys() == OF_RUN | {"stats", "started_at", "ended_at"}


def test_sharing_keeps_its_secret(telling: Telling) -> None:
    """The hash of the token is in no event."""
    o = telling.orders
    telling.tell(o.create(dry_run=True))
    (shared,) = telling.tell(o.order("graph.share", is_shared=True, share_token_hash="a" * 64))
    (ended,) = telling.tell(o.order("graph.share", is_shared=False))
    (deleted,) = telling.tell(o.order("graph.delete"))
    (erased,) = telling.tell(o.order("graph.delete", hard=True))

    assert shared.keys() == ended.keys() == OF_RUN | {"is_shared", "shared_at", "dry_run"}
    assert (shared["shared_at"], ended["shared_at"]) == (shared["at"], None)
    assert deleted.keys() == erased.keys() == OF_RUN | {"hard", "dry_run"}
    assert (deleted["hard"], erased["hard"]) == (False, True)


def test_refusals_and_key_values_have_no_seq() -> None:
    """They are no entries of a run's journal."""
    o = Orders()
    refused, kept = (decode(one.key, one.value) for one in (o.start(), o.keep()))
    assert isinstance(refused, RunCommand)
    assert isinstance(kept, SetKeyValue)

    of_run = json.loads(encode_event(refused_event(refused, Refused(Refusal.DELETED), (0, 1, 0))))
    of_user = json.loads(encode_event(refused_event(kept, Refused(Refusal.SUPERSEDED), (0, 1, 0))))
    changed = json.loads(encode_event(key_value_event(kept, (0, 2, 0))))

    about = {"reason", "detail", "command_type"}
    assert of_run.keys() == COMMON | {"graph_exec_id"} | about
    assert of_user.keys() == COMMON | about
    assert changed.keys() == COMMON | {"key", "data", "node_exec_id"}


def test_what_is_encoded_can_be_decoded(telling: Telling) -> None:
    """With its values as they were sent."""
    o = telling.orders
    telling.tell(o.create())
    value = b'{"a": 1.10E+2}'
    telling.tell(o.give("n"))
    assert telling.run is not None
    event = run_event(telling.run, _last_entry(telling, o.emit("n", data="@"), value), (0, 1, 0))

    again = decode_event(encode_event(event))

    assert isinstance(again.data, Raw)
    assert bytes(again.data) == value
    assert encode_event(again) == encode_event(event)


def _last_entry(telling: Telling, order: Order, data: bytes) -> Any:
    command = decode(order.key, (order.value or b"").replace(b'"@"', data))
    assert isinstance(command, RunCommand)
    entries = decide(telling.run, command)
    assert isinstance(entries, list)
    return entries[-1]


def test_what_the_topic_would_not_take_is_shortened() -> None:
    """It has `truncated`; the rest of it is whole."""
    detail = Raw(json.dumps({"a": "x" * (MAX_EVENT_BYTES + 1), "b": 1}).encode())
    event = Event(
        type="graph.updated",
        at=DAWN,
        command_id="c",
        source=(0, 1, 2),
        stats=detail,
    )

    encoded = encode_event(event)

    told = json.loads(encoded)
    assert len(encoded) <= MAX_EVENT_BYTES
    assert told["truncated"] is True
    assert (told["source"], told["stats"]["b"]) == ([0, 1, 2], 1)
    assert "characters left out" in told["stats"]["a"]
