"""Messages are bounded in values, and in repetitions, for any size of a run."""

from uuid import UUID

import pytest
from msgspec import Raw

from execstream.storage.redis.messages import run_view, run_views
from execstream.storage.redis.messages.run_views import RunViews
from execstream.streams.commands import (
    AddNodeInput,
    AddNodeOutput,
    RunCommand,
    StartingNode,
    UpdateGraph,
)
from execstream.streams.events import Event
from tests.agents.commands import BLOCK_TYPES, STEP_IDS, common, creation, events_of
from tests.agents.retold import Json, exactly

NODE = StartingNode(node_id="n", block_id="plain", node_exec_id=STEP_IDS[0], inputs={})


def views() -> RunViews:
    made = RunViews("prefix:")
    made.block_types = BLOCK_TYPES
    return made


def messages(events: list[Event]) -> list[bytes]:
    bridge = views()
    return [bridge.message_for(event)[1] for event in events]


def payloads(events: list[Event]) -> list[Json]:
    return [exactly(message)["payload"] for message in messages(events)]


def with_inputs(count: int) -> list[Event]:
    pins = {f"in{number}": Raw(str(number).encode()) for number in range(count)}
    return events_of(
        [creation(starting_nodes=[StartingNode(node_id="n", block_id="plain", inputs=pins)])]
    )


def emit(number: int, pin: str, value: bytes = b"1") -> RunCommand:
    return AddNodeOutput(
        **common(number, number),
        node_exec_id=STEP_IDS[0],
        output_name=pin,
        output_data=Raw(value),
    )


def test_of_many_inputs_the_middle_is_left_out() -> None:
    """The 101st pin leaves one out."""
    *_, before, after = payloads(with_inputs(101))
    *_, last = payloads(with_inputs(300))

    assert before["input_data"] == {f"in{number}": number for number in range(100)}
    assert "truncated" not in before
    assert after["truncated"] is True
    kept = [*(f"in{number}" for number in range(50)), "… 200 values left out …"]
    assert list(last["input_data"]) == kept + [f"in{number}" for number in range(250, 300)]


def test_a_step_of_n_inputs_costs_n() -> None:
    """Twice the inputs are some twice the bytes."""
    few, many = (sum(map(len, messages(with_inputs(count)))) for count in (500, 1_000))
    assert many < 2.5 * few


def test_of_many_outputs_the_middle_is_left_out() -> None:
    """Pins beyond 100, and values beyond 1,000 over all pins, are left out; the last ones are
    always there.
    """
    emissions = [emit(number, f"out{number % 120}", b"%d" % number) for number in range(1, 2_400)]
    found = payloads(events_of([creation(starting_nodes=[NODE]), *emissions]))[-1]

    outputs = found["output_data"]
    assert found["truncated"] is True
    assert len(outputs) == 101
    assert sum(map(len, outputs.values())) <= 1_100
    assert outputs["out119"][-1] == 2_399
    told = sum(len([v for v in values if isinstance(v, int)]) for values in outputs.values())
    markers = [v for values in outputs.values() for v in values if isinstance(v, str)]
    [pins] = [pin for pin, values in outputs.items() if not values]
    assert told + sum(int(one.split()[1]) for one in [*markers, pins]) == 2_399


def test_outputs_of_an_interface_block_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the last of the steps that have begun are in the message, with the number of
    missing ones.
    """
    monkeypatch.setattr(run_view, "MOST_STEPS", 4)
    nodes = [
        StartingNode(
            node_id="n",
            block_id="out",
            node_exec_id=str(UUID(int=number)),
            inputs={"name": Raw(b'"o%d"' % number), "value": Raw(b"%d" % number)},
        )
        for number in range(1, 8)
    ]
    update = UpdateGraph(**common(1, 1), stats=Raw(b"{}"))
    found = payloads(events_of([creation(starting_nodes=nodes), update]))[-1]

    left_out: dict[str, list[int]] = {"… 3 steps left out …": []}
    assert found["outputs"] == {f"o{n}": [n] for n in (1, 2, 6, 7)} | left_out
    assert found["truncated"] is True


def test_a_run_repeats_its_inputs_for_a_while_only() -> None:
    """Messages are whole while they fit into the allowance of a run for its events; after that the
    values are shortened.
    """
    inputs = Raw(b'{"a": "%s", "b": 1.50}' % (b"x" * 1_000_000))
    updates = [
        UpdateGraph(**common(number, number), stats=Raw(b'{"cost": %d}' % number))
        for number in range(1, 101)
    ]
    events = events_of([creation(inputs=inputs), *updates])
    found = messages(events)

    last = exactly(found[-1])["payload"]
    assert [len(one) > 1_000_000 for one in found] == [True] * 8 + [False] * 93
    assert "truncated" not in exactly(found[7])["payload"]
    assert last["truncated"] is True
    assert last["stats"]["cost"] == 100
    assert str(last["inputs"]["b"]) == "1.50"
    allowed = run_views.ALLOWED_TIMES * 1_000_100 + run_views.LEAST * len(found)
    assert sum(map(len, found)) < allowed


def test_a_step_repeats_its_values_for_a_while_only() -> None:
    """The values of an event are whole, and earlier ones are shortened."""
    give = AddNodeInput(
        **common(1, 1),
        node_id="n",
        block_id="plain",
        node_exec_id=None,
        new_node_exec_id=STEP_IDS[0],
        input_name="a",
        input_data=Raw(b'"%s"' % (b"x" * 1_000_000)),
    )
    emissions = [emit(number, "out") for number in range(2, 200)]
    whole = emit(200, "out", b'"%s"' % (b"y" * 500_000))
    found = messages(events_of([creation(), give, *emissions, whole]))

    assert len(found[-1]) > 500_000
    last = exactly(found[-1])["payload"]
    assert last["output_data"]["out"][-1] == "y" * 500_000
    assert "characters left out" in last["input_data"]["a"]
    assert sum(map(len, found)) < run_views.ALLOWED_TIMES * 1_500_000 + run_views.LEAST * len(found)


def test_a_replayed_run_is_allowed_as_much() -> None:
    """A bridge that begins late has the full allowance."""
    events = with_inputs(50)
    bridge = views()
    for event in events[:-1]:
        bridge.replay(event)
    assert bridge.message_for(events[-1])[1] == messages(events)[-1]
