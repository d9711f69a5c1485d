"""The bridge on real Redis and Postgres: earlier events are found, nothing is left out."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from msgspec import Raw
from redis.asyncio import Redis

from execstream.devstack import Addresses
from execstream.devstack.redis import url as url_of
from execstream.devstack.server import Server
from execstream.storage.redis.buses.missed_events import History
from execstream.storage.redis.buses.scope import Scope
from execstream.storage.redis.channels import MAX_MESSAGE_BYTES
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.redis.messages.view_loading import recall
from execstream.storage.redis.positions import Publication, RedisPosition
from execstream.streams.commands import (
    AddNodeInput,
    AddNodeOutput,
    DeleteGraph,
    RunCommand,
    ShareGraph,
    StartGraph,
    UpdateGraph,
    UpdateNode,
)
from execstream.streams.events import encode_event
from execstream.streams.statuses import ExecutionStatus
from tests.agents.bridging import REDIS_PASSWORD, Bridging, Listener, batch_of, store, trim
from tests.agents.commands import BLOCK_TYPES, STEP_IDS, common, creation, events_of
from tests.agents.retold import exactly, payload
from tests.names import Names

STEP = STEP_IDS[0]


@pytest.fixture
async def listener(stack: Addresses, names: Names) -> AsyncIterator[Listener]:
    async with (
        Redis.from_url(stack.redis_url) as redis,
        Listener(redis, names.redis_prefix) as listening,
    ):
        yield listening


def life_of_an_output_step() -> list[RunCommand]:
    """A run that starts, gives something out, and completes."""
    give: dict[str, Any] = {"node_id": "node", "block_id": "out", "new_node_exec_id": STEP}
    offset_commit: dict[str, Any] = {"node_exec_id": STEP}
    return [
        creation(inputs=Raw(b'{"x":1.50}')),
        StartGraph(**common(1, 1)),
        AddNodeInput(**common(2, 2), **give, input_name="name", input_data=Raw(b'"answer"')),
        AddNodeInput(**common(3, 3), **give, input_name="value", input_data=Raw(b"[1e2,null]")),
        UpdateNode(**common(4, 4), **offset_commit, status=ExecutionStatus.RUNNING),
        AddNodeOutput(**common(5, 5), **offset_commit, output_name="o", output_data=Raw(b"null")),
        AddNodeOutput(**common(6, 6), **offset_commit, output_name="o", output_data=Raw(b"2")),
        UpdateNode(**common(7, 7), **offset_commit, status=ExecutionStatus.COMPLETED),
        UpdateGraph(
            **common(8, 8), status=ExecutionStatus.COMPLETED, stats=Raw(b'{"walltime":2.5}')
        ),
    ]


@pytest.mark.parametrize("start", [0, 1, 4, 9])
async def test_what_was_before_is_found_in_the_journal(
    bridging: Bridging, listener: Listener, start: int
) -> None:
    """A bridge that begins anywhere in a run publishes its whole state, with outputs of blocks."""
    life = life_of_an_output_step()
    await store(bridging.session, life)
    events = events_of(life)

    await bridging.forward(events[start:])

    told = [exactly(encode_event(event)) for event in events]
    expected = [payload(told[:count], BLOCK_TYPES) for count in range(start + 1, len(told) + 1)]
    assert await listener.hear(len(expected)) == expected
    assert expected[-1]["outputs"] == {"answer": [[100, None]]}


async def test_an_erased_run_tells_what_is_left(bridging: Bridging, listener: Listener) -> None:
    """Late events find no journal; the last message has the tombstone, not the past."""
    life = [*life_of_an_output_step(), DeleteGraph(**common(9, 9), hard=True)]
    await store(bridging.session, life)
    events = events_of(life)

    await bridging.forward(events[-3:])

    step, run, closing = await listener.hear(3)
    assert (step["status"], step["input_data"], step["output_data"]) == ("COMPLETED", {}, {})
    assert (run["status"], run["inputs"], run["outputs"]) == ("COMPLETED", {}, {})
    assert run["stats"]["duration"] == 2.5
    assert (closing["status"], closing["stats"], closing["seq"]) == ("COMPLETED", None, 11)
    assert closing["started_at"] == "2026-03-01T06:30:01Z"


@pytest.mark.parametrize("steps", range(1, 10))
@pytest.mark.parametrize("before", [(), ("share",), ("delete",), ("share", "delete")])
async def test_an_erasure_is_told_alike(
    bridging: Bridging, steps: int, before: tuple[str, ...]
) -> None:
    """The messages are equal whether or not the bridge still had the run in memory, in any state of
    the run.
    """
    marks = {
        "share": ShareGraph(**common(20, 20), is_shared=True, share_token_hash="0" * 64),
        "delete": DeleteGraph(**common(21, 21)),
    }
    life = [*life_of_an_output_step()[:steps], *(marks[name] for name in before)]
    life.append(DeleteGraph(**common(22, 22), hard=True))
    await store(bridging.session, life)
    *past, closing = events_of(life)
    remembering, forgetful = RunViews(), RunViews()

    for event in past:
        remembering.replay(event)
    await recall(await bridging.session.get(), forgetful, {str(closing.graph_exec_id): closing})

    assert closing.type == "graph.deleted"
    assert remembering.message_for(closing) == forgetful.message_for(closing)


@pytest.mark.parametrize("is_new", [False, True], ids=["one bridge", "a bridge per event"])
async def test_a_trimmed_run_tells_what_its_row_has(
    bridging: Bridging, listener: Listener, stack: Addresses, names: Names, is_new: bool
) -> None:
    """Messages have the run's inputs and its end; and later additions, whole."""
    life = life_of_an_output_step()
    life[0] = creation(inputs=Raw(b'{"x":1.50}'), preset_id="p", credential_inputs=Raw(b'{"c":1}'))
    await store(bridging.session, life)
    await trim(bridging.session)
    give: dict[str, Any] = {"node_id": "node", "block_id": "plain", "new_node_exec_id": STEP}
    offset_commit: dict[str, Any] = {"node_exec_id": STEP, "status": ExecutionStatus.FAILED}
    later: list[RunCommand] = [
        ShareGraph(**common(9, 9), is_shared=True, share_token_hash="0" * 64),
        AddNodeInput(**common(10, 10), **give, input_name="a", input_data=Raw(b"1")),
        AddNodeInput(**common(11, 11), **give, input_name="b", input_data=Raw(b"2")),
        UpdateNode(**common(12, 12), **offset_commit),
        DeleteGraph(**common(13, 13)),
    ]
    events = await store(bridging.session, later, first_offset=len(life))

    for offset, event in enumerate(events):
        bridge = Bridging(stack.postgres_dsn, stack.redis_url, names) if is_new else bridging
        await bridge.forward([event], first_offset=offset)
        if is_new:
            await bridge.close()

    heard = await listener.hear(len(events))
    shared, _, _, second, failed, deleted = heard
    for told in (shared, deleted):
        assert told["inputs"] == {"x": Decimal("1.50")}
        assert (told["credential_inputs"], told["preset_id"]) == ({"c": 1}, "p")
        assert (told["status"], told["is_shared"]) == ("COMPLETED", True)
        assert told["stats"]["duration"] == 2.5
    assert (second["status"], second["input_data"]) == ("INCOMPLETE", {"a": 1, "b": 2})
    assert (failed["status"], failed["input_data"]) == ("FAILED", {"a": 1, "b": 2})
    assert second["add_time"] == failed["add_time"] == "2026-03-01T06:30:10Z"
    history = History(bridging.session, Scope("ada"), MAX_MESSAGE_BYTES)
    after, until = second["source"][1:], (len(life) + len(later), -1)
    missed = history.missed({0: tuple(after)}, {0: until}, {})
    assert [exactly(message)["payload"] async for _, _, message in missed] == heard[4:]


async def test_what_comes_again_is_not_told_again(
    bridging: Bridging, listener: Listener, stack: Addresses, names: Names
) -> None:
    """Sources that are not greater than the last one are dropped, also by the next bridge."""
    events = events_of(life_of_an_output_step())
    await bridging.forward(events[:4])
    successor = Bridging(stack.postgres_dsn, stack.redis_url, names)
    await store(bridging.session, life_of_an_output_step())
    await successor.begin()

    await successor.forward([*events[2:4], *events], first_offset=4)

    heard = await listener.hear(len(events))
    assert [message["seq"] for message in heard] == [event.seq for event in events]
    assert await listener.silence()
    assert await bridging.positions.published() == len(events)
    place = (await bridging.positions.load())[0]
    assert place == RedisPosition(6 + len(events), events[-1].source)
    await successor.close()


async def test_what_nobody_wrote_is_stepped_over(bridging: Bridging, listener: Listener) -> None:
    """Foreign records, and events without a run, move the position silently."""
    [created] = events_of([creation()])
    created.source = (0, 1, 0)
    refused = b'{"type":"command.refused","at":"2026-03-01T06:30:00Z","command_id":"c","source":'
    foreign = [b"rubbish", b"", None, b"null", b'{"type":"\xff"}', b'{"x":' + b"[" * 100_000]
    values = [*foreign, refused + b"[0,0,0]}", encode_event(created), refused + b"[0,9,0]}"]

    await bridging.forwarder.forward(batch_of(values, first_offset=7))

    [message] = await listener.hear(1)
    assert message["id"] == created.graph_exec_id
    assert await listener.silence()
    assert await bridging.positions.load() == {0: RedisPosition(7 + len(values), (0, 9, 0))}


async def test_a_publication_whose_answer_got_lost_is_not_repeated(
    bridging: Bridging, listener: Listener, names: Names
) -> None:
    """Trying again after an unknown outcome publishes once, partition by partition."""
    channel = f"{names.redis_prefix}execution_event/a/b/c"
    first = Publication(0, RedisPosition(10, (0, 9, 0)), [(9, channel, b'{"payload":{"n":1}}')])
    other = Publication(1, RedisPosition(5, (1, 4, 0)), [(4, channel, b'{"payload":{"n":2}}')])

    assert await bridging.positions.publish([first]) == 1
    assert await bridging.positions.publish([first, other]) == 1
    assert await bridging.positions.publish([first, other]) == 0

    assert await listener.hear(2) == [{"n": 1}, {"n": 2}]
    assert await listener.silence()
    assert await bridging.positions.published() == 2


async def test_two_bridges_at_once_repeat_nothing(
    bridging: Bridging, listener: Listener, stack: Addresses, names: Names
) -> None:
    """One that does not know yet that it lost its partition groups the same events otherwise."""
    events = events_of(life_of_an_output_step())
    zombie = Bridging(stack.postgres_dsn, stack.redis_url, names)
    await bridging.forward(events[:3])
    await zombie.forward(events[:5])
    await bridging.forward(events[3:4], first_offset=3)
    await bridging.forward(events[4:], first_offset=4)

    heard = await listener.hear(len(events))

    assert [message["seq"] for message in heard] == [event.seq for event in events]
    assert await listener.silence()
    assert await bridging.positions.published() == len(events)
    assert await bridging.positions.load() == {0: RedisPosition(len(events), events[-1].source)}
    await zombie.close()


async def test_many_messages_go_out_in_order(bridging: Bridging, listener: Listener) -> None:
    """More than one step of publishing: all messages, in order, and the position at the end."""
    outputs = [
        AddNodeOutput(
            **common(9, 9 + number), node_exec_id=STEP, output_name="o", output_data=Raw(b"1")
        )
        for number in range(2_500)
    ]
    events = events_of([*life_of_an_output_step(), *outputs])
    await bridging.forward(events)
    heard = await listener.hear(len(events))
    assert [message["seq"] for message in heard] == list(range(1, len(events) + 1))
    assert (await bridging.positions.load())[0].next_offset == len(events)


@pytest.mark.usefixtures("bridging")  # which makes the tables
async def test_redis_may_be_away(stack: Addresses, names: Names, own_redis: Server) -> None:
    """Events that come while Redis is down are published when it is back, though Redis forgot
    everything.
    """
    url = url_of(own_redis.ports[0], REDIS_PASSWORD)
    over_there = Bridging(stack.postgres_dsn, url, names)
    events = events_of(life_of_an_output_step())
    await over_there.forward(events[:2])
    await own_redis.kill()
    waiting = asyncio.create_task(over_there.forward(events[2:], first_offset=2))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done

    own_redis.spawn()
    await waiting

    assert await over_there.positions.load() == {0: RedisPosition(len(events), events[-1].source)}
    assert await over_there.positions.published() == len(events) - 2
    await over_there.close()


@pytest.mark.usefixtures("bridging")  # which makes the tables
async def test_no_message_without_a_subscriber(
    stack: Addresses, names: Names, own_redis: Server
) -> None:
    """A run without a subscriber has one message per batch. A client that subscribes in its middle
    gets the whole state with the next one.
    """
    url = url_of(own_redis.ports[0], REDIS_PASSWORD)
    over_there = Bridging(stack.postgres_dsn, url, names)
    events = await store(over_there.session, life_of_an_output_step())
    before = await _published(over_there)
    await over_there.forward(events[:6])
    assert await _published(over_there) == before + 1
    assert await over_there.positions.published() == 6
    channel = RunViews(names.redis_prefix).channel_of(events[0])

    async with over_there.redis.pubsub(ignore_subscribe_messages=True) as subscribed:
        await subscribed.subscribe(channel)
        await subscribed.get_message(ignore_subscribe_messages=False, timeout=5)
        await over_there.forward(events[6:7], first_offset=6)
        heard: Any = await subscribed.get_message(timeout=5)
    await over_there.forward(events[7:], first_offset=7)

    told = [exactly(encode_event(event)) for event in events]
    assert exactly(heard["data"])["payload"] == payload(told[:7], BLOCK_TYPES)
    told_on = len(events[7:])  # for some time after the last subscriber has left
    assert await _published(over_there) == before + 4 + told_on
    assert await over_there.positions.load() == {0: RedisPosition(len(events), events[-1].source)}
    assert await over_there.positions.published() == len(events)
    await over_there.close()


async def _published(bridging: Bridging) -> int:
    """The number of PUBLISH commands that the server has run."""
    statistics: Any = await bridging.redis.info("commandstats")
    return int(statistics.get("cmdstat_publish", {"calls": 0})["calls"])


async def test_without_the_right_to_list_subscriptions_everything_is_published(
    bridging: Bridging, listener: Listener, stack: Addresses, names: Names
) -> None:
    """A bridge without the right to list subscriptions publishes everything."""
    user = f"bridge-{names.redis_prefix.strip(':')}"
    await bridging.redis.acl_setuser(
        user,
        enabled=True,
        passwords=["+secret"],
        keys=["*"],
        channels=["*"],
        categories=["+@all"],
        commands=["-pubsub", "-info"],
    )
    url = f"redis://{user}:secret@{stack.redis_url.removeprefix('redis://').rpartition('@')[2]}"
    limited = Bridging(stack.postgres_dsn, url, names)
    events = await store(limited.session, life_of_an_output_step())

    await limited.forward(events)

    heard = await listener.hear(len(events))
    assert [message["seq"] for message in heard] == [event.seq for event in events]
    await limited.close()
    await bridging.redis.acl_deluser(user)
