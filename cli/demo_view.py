"""The live display of the demo: counters per status and the last events."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Group
from rich.live import Live
from rich.padding import Padding

from execstream.cli.terminal import Table, Text, err
from execstream.cli.words import STYLES, UNREADABLE, status_text
from execstream.config.settings import Settings
from execstream.config.tasks import end
from execstream.storage.redis.channels import execution_channel
from execstream.streams.statuses import ExecutionStatus
from execstream.workload.demo import Demo

REFRESH = 0.5  # seconds
REFRESH_IN_LINES = 5.0  # seconds, where there is no terminal
EVENTS_SHOWN = 12
BAR_WIDTH = 50  # characters

_decode = msgspec.json.Decoder().decode


class View:
    """Draws a demo; `messages` are the newest from Redis, as they came."""

    def __init__(self, demo: Demo) -> None:
        self.messages: deque[bytes] = deque(maxlen=EVENTS_SHOWN)
        self._demo = demo

    def __rich__(self) -> Group:
        """All of it; rich asks for this at every refresh."""
        return Group(
            Text(self.line(), "bold"),
            Padding(self._statuses(), (1, 0)),
            *(self._event(message) for message in list(self.messages)),
        )

    def line(self) -> str:
        """The figures in one line."""
        demo = self._demo
        sent = demo.producer.sent if demo.producer else 0
        parts = [f"{sent:,} sent"]
        parts += [f"{count:,} {name}" for name, count in demo.outcomes._asdict().items()]
        parts += [f"{demo.events:,} events", f"{demo.redis_messages:,} messages"]
        return "  ".join(parts)

    def _statuses(self) -> Table:
        counts = self._demo.statuses
        most = max(counts.values(), default=1)
        grid = Table(padding=(0, 2), collapse_padding=True, show_header=False)
        grid.add_column()
        grid.add_column(justify="right", min_width=6)
        for status in ExecutionStatus:
            count = counts.get(status, 0)
            bar = Text("▇" * math.ceil(BAR_WIDTH * count / most), STYLES[status])
            grid.add_row(status_text(status), f"{count:,}", bar)
        return grid

    def _event(self, message: bytes) -> Text:
        """An event, described in words rather than ids."""
        try:
            return self._line_of(_decode(message)["payload"])
        except UNREADABLE:  # others may publish anything
            return Text(f"a message of {len(message):,} bytes that is no update", "dim")

    def _line_of(self, payload: Mapping[str, Any]) -> Text:
        names = self._demo.names
        graph = names.get(payload["graph_id"], payload["graph_id"])
        block = names.get(payload.get("block_id", ""), "")
        run = payload.get("graph_exec_id") or payload["id"]
        line = Text(no_wrap=True, overflow="ellipsis")
        seq = "-" if payload["seq"] is None else payload["seq"]
        line.append(f"{run[-6:]} {seq:>4}  ", "dim")
        line.append_text(status_text(payload["status"]))
        line.append(f"  {block or 'the run':<28.28}  ", "" if block else "bold")
        return line.append(graph, "dim")


@asynccontextmanager
async def show(demo: Demo, settings: Settings, *, with_events: bool) -> AsyncIterator[None]:
    """Show the demo on stderr: live at a terminal, else a line now and then."""
    view = View(demo)
    tasks = [asyncio.create_task(_listen(view, settings))] if with_events else []
    try:
        if err.is_terminal:
            with Live(view, console=err, refresh_per_second=1 / REFRESH):
                yield
        else:
            tasks.append(asyncio.create_task(_print_lines(view)))
            yield
            err.print(view.line(), soft_wrap=True)
    finally:
        await end(*tasks)


async def _print_lines(view: View) -> None:
    while True:
        await asyncio.sleep(REFRESH_IN_LINES)
        err.print(view.line(), soft_wrap=True)


async def _listen(view: View, settings: Settings) -> None:
    """Take messages from Redis; without it the figures must do."""
    channel = execution_channel(settings.redis_prefix, "*", "*", "*")
    while True:
        with suppress(RedisError, OSError):
            async with Redis.from_url(settings.redis) as redis, redis.pubsub() as pubsub:
                await pubsub.psubscribe(channel)
                async for message in pubsub.listen():
                    if message["type"] == "pmessage":
                        view.messages.append(message["data"])
        await asyncio.sleep(REFRESH)
