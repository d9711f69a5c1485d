"""Readers that are torn off, that are slow, and servers that lose Redis: each event once."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from execstream import ExecutionClient
from execstream.dashboard.feed import subscribers
from execstream.dashboard.server import Server
from tests.dashboard.serving import serving
from tests.dashboard.sse import Subscription
from tests.orders import Orders
from tests.worker import Installation, until

pytestmark = pytest.mark.usefixtures("worker", "bridge")

GRAPH = "graph-of-reconnects"
RUNS = 8
OUTPUTS = 100
READERS = 20
RECONNECTS = 15  # of each reader


class Reader:
    """Reconnects with its last id after each break, and keeps the events received."""

    def __init__(self, url: str, seed: int, **scope: str) -> None:
        self.connections = 0
        self.heard: Counter[tuple[str, int]] = Counter()
        self._url = url
        self._scope = scope
        self._last_id = ""
        self._random = random.Random(seed)

    async def read(self, count: int, begun: asyncio.Event) -> None:
        """Read so many events of runs, over RECONNECTS connections at least."""
        while self.heard.total() < count:
            left = min(self._random.randint(1, count // RECONNECTS), count - self.heard.total())
            async with Subscription(self._url, self._last_id, **self._scope) as stream:
                for _ in range(left):
                    await self._hear(stream)
                    begun.set()
                self.connections += 1

    async def _hear(self, stream: Subscription) -> None:
        frame = await stream.next("snapshot", "event")
        self._last_id = stream.last_id
        if frame.event == "event" and "seq" in frame.data:
            self.heard[frame.data["graph_exec_id"], frame.data["seq"]] += 1


@pytest.mark.slow
async def test_each_event_once_through_reconnects(server: Server, place: Installation) -> None:
    """Readers of a run, of a user and of a graph, torn off in the middle of frames while commands
    come: no reader misses an entry or gets one twice.
    """
    runs = [Orders(user_id="ada-reconnects") for _ in range(RUNS)]
    entries = {(run.run_id, seq) for run in runs for seq in range(3, 3 + OUTPUTS)}
    await place.put([run.create(run.node("a"), graph_id=GRAPH) for run in runs])
    await place.drained()
    readers = [
        Reader(server.url, seed, **scope)
        for seed, scope in enumerate(
            [{"graph_id": GRAPH}, {"user_id": runs[0].user_id}, {"graph_exec_id": runs[0].run_id}]
            * (READERS // 3)
        )
    ]
    ours = {(runs[0].run_id, seq) for seq in range(3, 3 + OUTPUTS)}
    wanted = [ours if "graph_exec_id" in one._scope else entries for one in readers]
    begun = [asyncio.Event() for _ in readers]

    async with asyncio.TaskGroup() as group:
        for reader, events, event in zip(readers, wanted, begun, strict=True):
            group.create_task(reader.read(len(events), event))
        await asyncio.gather(*(event.wait() for event in begun))
        for number in range(OUTPUTS):
            await place.put([run.emit("a", data=number) for run in runs])

    for reader, events in zip(readers, wanted, strict=True):
        assert reader.heard == Counter(events)
        assert reader.connections >= RECONNECTS


async def test_a_slow_reader_is_told_and_heals(
    server: Server, place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not read is overtaken; the journal makes up for it, entry by entry."""
    monkeypatch.setattr(subscribers, "MOST_BYTES", 64 * 1024)
    orders = Orders()
    await place.put([orders.create(orders.node("a"))])
    await place.drained()
    async with Subscription(server.url, graph_exec_id=orders.run_id) as slow:
        await slow.next("snapshot")
        slow.stop_reading()
        for number in range(120):
            await place.put([orders.emit("a", data="x" * 100_000), orders.emit("a", data=number)])
        await place.drained()
        await until(lambda: nobody_is_attached(server))
        slow.go_on_reading()
        frames = [await slow.next("event", "resync") for _ in range(241)]

    assert [frame.data for frame in frames if frame.event == "resync"] == [{"reason": "slow"}]
    events = [frame.data for frame in frames if frame.event == "event"]
    assert [event["seq"] for event in events] == list(range(3, 243))


async def nobody_is_attached(server: Server) -> bool:
    """Return whether the reader has detached all subscribers, as it does with those it has
    overtaken.
    """
    return not server._app.state.services.feed._reader._subscribers


async def test_without_redis(place: Installation, sender: ExecutionClient) -> None:
    """While Redis is away the feed looks for itself."""
    orders = Orders()
    settings = place.settings_with(redis_url="redis://127.0.0.1:1/0")
    async with serving(settings, sender) as deaf, Subscription(deaf.url) as stream:
        await stream.next("snapshot")
        await place.put([orders.create(), orders.start()])
        events: list[Any] = await stream.events(2)
    assert [event["seq"] for event in events] == [1, 2]
