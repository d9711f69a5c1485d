"""`execstream watch`: the state of the installation, live at the terminal."""

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated

from cyclopts import Parameter
from redis.asyncio import Redis
from rich.live import Live

from execstream.cli.common import Json, opened, print_json, start
from execstream.cli.overview import Overview, Overviewer
from execstream.cli.terminal import out
from execstream.cli.watch_view import View
from execstream.config.settings import Settings
from execstream.kafka.cluster import Brokers
from execstream.kafka.security import client_options
from execstream.storage.connections import AWAY

PAUSE = 1.0  # seconds between two looks


async def watch(
    *,
    once: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Show runs by status, rates, lag, failing blocks and alerts until Ctrl-C.

    Parameters
    ----------
    once
        Look once, for a second, and end.
    """
    settings = start()
    async with AsyncExitStack() as open_:
        looker = await _overviewer(settings, open_)
        first = await _next(looker)
        if once:
            _announce(first, json=json)
        elif json:
            await _print_lines(looker, first)
        else:
            await _show(looker, first)


async def _overviewer(settings: Settings, open_: AsyncExitStack) -> Overviewer:
    db = await open_.enter_async_context(opened(settings))
    redis = await open_.enter_async_context(Redis.from_url(settings.redis))
    brokers = Brokers(settings.kafka, client_options(), settings.topic_prefix)
    open_.push_async_callback(brokers.close)
    looker = Overviewer(db, redis, brokers, settings.topic_prefix, settings.redis_prefix)
    await looker.look()  # rates are between two looks
    return looker


async def _next(looker: Overviewer) -> Overview:
    await asyncio.sleep(PAUSE)
    return await looker.look()


async def _print_lines(looker: Overviewer, seen: Overview) -> None:
    while True:
        _announce(seen, json=True)
        seen = await _next(looker)


async def _show(looker: Overviewer, seen: Overview) -> None:
    view = View(seen)
    with Live(view, console=out, screen=out.is_terminal, auto_refresh=False) as shown:
        while True:
            try:
                view.take(await _next(looker))
            except AWAY as error:
                view.trouble = f"{type(error).__name__}: {error}"
            shown.refresh()


def _announce(seen: Overview, *, json: bool) -> None:
    if json:
        print_json(seen)
    else:
        out.print(View(seen))
