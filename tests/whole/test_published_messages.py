"""All that a demo sends and publishes is valid by the schemas, and has no field that they lack."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from execstream.cli.common import indented_json
from execstream.cli.schema import CONTRACTS
from execstream.storage.redis.channels import EXECUTION_EVENT
from execstream.streams import exact_json
from execstream.streams.decoding import decode
from execstream.streams.json_schemas import EVENT_FIELDS
from execstream.streams.outcomes import Dead
from execstream.streams.topics import BLOCK_STATS
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.simulation import catalogue, load_graphs, simulate
from tests.contract_validation import is_valid, validator
from tests.dashboard.raising import closed, raised
from tests.orders import Order, Orders, replaced
from tests.whole.bad_records import DEAD
from tests.whole.program import Program
from tests.whole.understood_records import REFUSED, STRANGE
from tests.worker import Installation, until

RUNS = 16  # each of the example graphs once
_LARGEST = 100_000  # bytes of a case that is sent
CHANNELS = {
    "execution_event/": "update",
    "execution_reply/": "reply",
    "execution_published": "published",
    "execution_alert": "alert",
}
Messages = list[tuple[str, bytes]]  # channel without its prefix, and data


def _demo() -> list[Order]:
    """The commands of a demo; and refused, strange and dead ones that ask for a reply."""
    start = datetime.now(UTC) - timedelta(minutes=5)
    records = simulate(load_graphs(EXAMPLE_GRAPHS), runs=RUNS, seed=1, start=start)
    sent = [Order(key, value) for key, value in records]
    cases = [*REFUSED.values(), *STRANGE.values()]
    for number, case in enumerate(cases):
        orders = [one for one in case.make(Orders()) if len(one.value or b"") < _LARGEST]
        sent += [
            replaced(one, reply_to=f"case-{number}") if _is_plain(one) else one for one in orders
        ]
    shared = Orders()
    sent += [
        shared.create(),
        shared.order("graph.share", is_shared=True, share_token_hash="0" * 64),
    ]
    bad = DEAD["a status in small letters"].make(Orders())
    return sent + [replaced(one, reply_to="dead") for one in bad]


def _is_plain(order: Order) -> bool:
    """Whether its bytes stay the same when it is written anew."""
    with suppress(ValueError):
        return (
            json.dumps(json.loads(order.value or b""), separators=(",", ":")).encode()
            == order.value
        )
    return False


@asynccontextmanager
async def _listening(place: Installation) -> AsyncIterator[Messages]:
    """All messages on channels of the installation, as they come."""
    prefix, heard = place.settings.redis_prefix, Messages()
    redis = Redis.from_url(place.settings.redis)
    async with redis, redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.psubscribe(f"{prefix}*")
        await pubsub.get_message(ignore_subscribe_messages=False, timeout=5)

        async def listen() -> None:
            async for message in pubsub.listen():
                heard.append((message["channel"].decode().removeprefix(prefix), message["data"]))

        listening = asyncio.create_task(listen())
        try:
            yield heard
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


def _parsed(value: bytes) -> Any:
    return exact_json.decode(value)


def _untold(name: str, values: Iterable[bytes]) -> set[str]:
    """Violations of the schema of a message, and fields that the schema does not have."""
    found: set[str] = set()
    shapes: dict[tuple[str, ...], Any] = {}
    for value in values:
        message = _parsed(value)
        for error in validator(name).iter_errors(message):
            found.add(f"{error.json_path}: {error.message}")
        shapes[tuple(sorted(_fields(message)))] = message
    for fields, message in shapes.items():
        found |= {f"{field} is not in the schema" for field in {*fields} - _known(name, message)}
    return found


def _fields(message: Any) -> set[str]:
    return set(message.get("payload", message)) if isinstance(message, dict) else set()


def _known(name: str, message: Any) -> set[str]:
    """The fields of the definition that `message` is valid by."""
    document = CONTRACTS[name].document(name)
    fitting = [
        one["properties"].keys()
        for one in document.get("$defs", {}).values()
        if one.get("type") == "object"
        and validator(name)
        .evolve(schema={**one, "$defs": document["$defs"]})
        .is_valid(message.get("payload", message))
    ]
    return set().union(*fitting)


@asynccontextmanager
async def _others(place: Installation) -> AsyncIterator[None]:
    """A bridge and a tally."""
    workers = [await place.start_worker(role) for role in ("bridge", "tally")]
    try:
        yield
    finally:
        assert [await worker.stop() for worker in workers] == [0, 0]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_all_of_a_demo_is_valid(place: Installation) -> None:
    """Commands, events, block stats, catalogue entries, and messages on Redis."""
    async with place.worker(), _listening(place) as heard, _others(place):
        orders = _demo()
        await place.put(orders)
        await place.drained()
        await closed(place.db, await raised(place.db, "brittle"))
        events = [one.value for part in (await place.events()).values() for one in part]
        told = [one for one in events if "seq" in _parsed(one)]
        await until(lambda: _have_come(heard, len(told)))
        stats = await until(lambda: _stats(place))

    understood = [one for one in orders if not isinstance(decode(one.key, one.value), Dead)]
    invalid = [one.value for one in understood if not is_valid("command", one.value)]
    assert (invalid, len(understood) > 500) == ([], True)
    types = {_parsed(one)["type"] for one in events}
    assert types == EVENT_FIELDS.keys()
    assert _untold("event", events) == set()
    assert _untold("block-stats", stats) == set()
    entries = [msgspec.json.encode(entry) for _, entry in catalogue(load_graphs(EXAMPLE_GRAPHS))]
    assert _untold("catalogue", entries) == set()
    for channel, name in CHANNELS.items():
        messages = [data for heard_on, data in heard if heard_on.startswith(channel)]
        assert (name, len(messages) > 0, _untold(name, messages)) == (name, True, set())
    assert all(channel.startswith(tuple(CHANNELS)) for channel, _ in heard)


async def _have_come(heard: Messages, updates: int) -> bool:
    came = Counter(channel.partition("/")[0] for channel, _ in heard)
    return came[EXECUTION_EVENT] >= updates and came["execution_alert"] >= 2


async def _stats(place: Installation) -> Sequence[bytes]:
    ends = await place._ends(BLOCK_STATS.name)
    records = await place._read(
        BLOCK_STATS.name,
        lambda seen: all(n in seen and seen[n].offset + 1 >= end for n, end in ends.items() if end),
    )
    return [one.value for one in records if one.value is not None]


async def test_the_program_prints_them(tmp_path: Path) -> None:
    """Without any setting; one that is not there is a failure that names those that are."""
    program = Program(tmp_path, {})
    listed = await program("schema", "--json")
    printed = await program("schema", "event")
    short = await program("schema", "event", "--json")
    none = await program("schema", "nothing")

    assert [one["name"] for one in listed.json_lines()] == [*CONTRACTS]
    assert printed.out == indented_json(CONTRACTS["event"].document("event")) + "\n"
    assert short.json() == json.loads(printed.out)
    assert (none.code, none.out) == (1, "")
    assert "command, event" in none.err
