"""The content of each event's message, compared with a slow computation from all events so far."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from execstream.storage.log.run_history import Head
from execstream.storage.redis.messages.run_views import RunViews
from execstream.streams.commands import (
    AddNodeInput,
    AddNodeOutput,
    DeleteGraph,
    RunCommand,
    StartingNode,
    UpdateNode,
)
from execstream.streams.events import Event, encode_event
from execstream.streams.statuses import ExecutionStatus
from tests.agents.commands import (
    BLOCK_TYPES,
    DAWN,
    RUN_ID,
    STEP_IDS,
    common,
    creation,
    events_of,
    lives,
)
from tests.agents.retold import Json, exactly, payload


def views(**settings: Any) -> RunViews:
    new = RunViews("prefix:", **settings)
    new.block_types = BLOCK_TYPES
    return new


def told(messages: RunViews, event: Event) -> Json:
    _, message = messages.message_for(event)
    found: Json = exactly(message)["payload"]
    return found


@settings(max_examples=200, deadline=None)
@given(lives())
def test_every_message_tells_the_whole_state(life: list[RunCommand]) -> None:
    """A message equals the computation from all events up to its own; numbers keep digits."""
    events = events_of(life)
    decoded = [exactly(encode_event(event)) for event in events]
    bridge = views()
    for count, event in enumerate(events, start=1):
        assert told(bridge, event) == payload(decoded[:count], BLOCK_TYPES)


@settings(max_examples=100, deadline=None)
@given(lives(), st.data())
def test_replayed_runs_tell_the_same(life: list[RunCommand], data: st.DataObject) -> None:
    """A bridge that begins anywhere publishes the same once the earlier events were replayed."""
    events = events_of(life)
    start = data.draw(st.integers(0, len(events) - 1))
    whole, late = views(), views()
    told_before = [whole.message_for(event) for event in events]
    for event in events[:start]:
        late.replay(event)

    assert not late.missing(events[start:])
    assert [late.message_for(event) for event in events[start:]] == told_before[start:]


def test_a_message_goes_to_the_channel_of_its_run() -> None:
    [event] = events_of([creation()])
    channel, _ = views().message_for(event)
    assert channel == f"prefix:execution_event/ada/graph/{RUN_ID}"


def test_a_run_that_is_not_known_up_to_an_event_is_missing() -> None:
    """The first event of a run never lacks anything; a later one does, until it is replayed."""
    events = events_of([creation(), DeleteGraph(**common(1, 1))])
    bridge = views()
    assert bridge.missing(events[:1]) == {}
    assert bridge.missing(events[1:]) == {RUN_ID: events[1]}
    bridge.replay(events[0])
    assert bridge.missing(events[1:]) == {}


def test_an_erased_run_tells_what_its_event_tells() -> None:
    """With the journal gone, a value is published without the state around it."""
    add = AddNodeInput(
        **common(1, 1), node_id="node", block_id="out", input_name="x", input_data=Raw(b"1.0")
    )
    again = AddNodeInput(
        **common(2, 2), node_id="node", block_id="out", input_name="y", input_data=Raw(b"2")
    )
    events = events_of([creation(), add, again])
    bridge = views()
    bridge.resume(events[3], Head(DAWN, ExecutionStatus.FAILED, DAWN, None))

    found = told(bridge, events[3])

    assert found["input_data"] == {"y": 2}
    assert found["status"] is None
    assert found["node_id"] == "node"


@pytest.mark.parametrize("is_known", [True, False])
def test_the_end_of_an_erased_run_tells_the_tombstone(is_known: bool) -> None:
    """Erased data is not published, whether the bridge knew the run or not."""
    commands = [creation(inputs=Raw(b'{"secret":1}')), DeleteGraph(**common(1, 1), hard=True)]
    events = events_of(commands)
    bridge = views()
    if is_known:
        bridge.replay(events[0])
    else:
        bridge.resume(events[1], Head(DAWN, ExecutionStatus.INCOMPLETE, None, None))

    found = told(bridge, events[1])

    assert found["status"] == "INCOMPLETE"
    assert found["inputs"] == {}


def test_long_lists_keep_both_ends() -> None:
    """The 101st value of a pin leaves one out, the 300th 200; memory stays bounded."""
    node = StartingNode(node_id="n", block_id="plain", node_exec_id=STEP_IDS[0], inputs={})
    emissions = [
        AddNodeOutput(
            **common(number, number),
            node_exec_id=STEP_IDS[0],
            output_name="x",
            output_data=Raw(str(number).encode()),
        )
        for number in range(1, 301)
    ]
    bridge = views()
    first, added, *emitted = events_of([creation(starting_nodes=[node]), *emissions])
    bridge.replay(first)
    bridge.replay(added)
    found, sizes = [], []
    for event in emitted:
        found.append(told(bridge, event))
        sizes.append(bridge.size)

    assert found[99]["output_data"]["x"] == list(range(1, 101))
    assert "truncated" not in found[99]
    marker = "… 1 values left out …"
    assert found[100]["output_data"]["x"] == [*range(1, 51), marker, *range(52, 102)]
    assert found[100]["truncated"] is True
    marker = "… 200 values left out …"
    assert found[299]["output_data"]["x"] == [*range(1, 51), marker, *range(251, 301)]
    assert sizes[299] - sizes[99] < 1_000


def test_old_runs_are_forgotten() -> None:
    """Beyond the limit the runs used least recently go, the one at hand stays."""
    bridge = views(max_cache_bytes=10_000)
    [event] = events_of([creation(inputs=Raw(b'{"x":"' + b"y" * 4_000 + b'"}'))])
    run_ids = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(5)]
    for run_id in run_ids:
        bridge.message_for(replace(event, graph_exec_id=run_id))

    bridge.trim()

    next_events = [replace(event, graph_exec_id=run_id, seq=2) for run_id in run_ids]
    assert [bridge.lacks(event) for event in next_events] == [True, True, True, True, False]
    assert bridge.size <= 10_000


def test_oversize_messages_stay_parseable() -> None:
    """A message over the limit is shortened to it, has `truncated`, and keeps its identity."""
    bridge = views(max_message_bytes=5_000)
    [event] = events_of([creation(inputs=Raw(b'{"x":"' + b"y" * 40_000 + b'","z":1.50}'))])
    _, message = bridge.message_for(event)
    found = exactly(message)["payload"]
    assert len(message) <= 5_000
    assert found["truncated"] is True
    assert found["id"] == RUN_ID
    assert str(found["inputs"]["z"]) == "1.50"
    assert "characters left out" in found["inputs"]["x"]


def test_a_moved_step_tells_its_execution_data() -> None:
    """Execution data takes the place of the inputs, even when it is empty."""
    add = AddNodeInput(
        **common(1, 1), node_id="n", block_id="b", input_name="x", input_data=Raw(b"1")
    )
    first = events_of([creation(), add])
    step_id = str(first[-1].node_exec_id)
    offset_commit = UpdateNode(
        **common(2, 2),
        node_exec_id=step_id,
        status=ExecutionStatus.QUEUED,
        execution_data=Raw(b"{}"),
    )
    bridge = views()
    *_, last = [told(bridge, event) for event in events_of([creation(), add, offset_commit])]
    assert last["input_data"] == {}
    assert last["status"] == "QUEUED"


def test_a_huge_run_is_shed() -> None:
    """A run over half of the cache keeps its newest values whole and the ends of the others."""
    bridge = views(max_cache_bytes=1_100_000)
    text = Raw(b'"' + b"y" * 40_000 + b'"')
    give = {"node_id": "n", "input_name": "value", "input_data": text}
    commands = [
        AddNodeInput(
            **common(number, number) | give,
            block_id="out" if number == 1 else "plain",
            new_node_exec_id=str(UUID(int=number)),
        )
        for number in range(1, 40)
    ]
    emissions = [
        AddNodeOutput(
            **common(number, number),
            node_exec_id=str(UUID(int=number - 60)),
            output_name="o",
            output_data=text,
        )
        for number in (61, 62, 98, 99)
    ]
    found = []
    for event in events_of([creation(), *commands, *emissions]):
        found.append(told(bridge, event))
        assert bridge.size <= 560_000

    of_interface, of_old, before_last, last = found[-4:]
    assert "truncated" not in of_interface
    assert "truncated" not in last
    assert len(before_last["input_data"]["value"]) == 40_000
    assert of_old["truncated"] is True
    assert "characters left out" in of_old["input_data"]["value"]
    assert len(of_old["output_data"]["o"][0]) == 40_000
