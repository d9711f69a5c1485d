"""`execstream stats`: how blocks fare."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import asyncpg
from cyclopts import App, Parameter
from rich.live import Live
from rich.table import Table

from execstream.cli.common import Json, opened, out, print_json, start, table
from storage.block_figures import BlockFigures, get_block_figures
from streams.errors import Fatal

REFRESH = 1.0  # seconds

stats = App(name="stats", help="Figures over all runs, from the totals of the tally.")

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"(\d{1,5})([smhd])")


class NoSpan(Fatal):
    """A span of time cannot be read."""


@stats.command
async def blocks(
    *,
    since: str = "1h",
    watch: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Show for each block how many steps ended and failed, how long they took, what they cost.

    Parameters
    ----------
    since
        How far to look back: a number and s, m, h or d; whole minutes.
    watch
        Show it again every second until Ctrl-C.
    """
    span = _span(since)
    settings = start()
    async with opened(settings) as db:
        if watch and not json:
            await _watch(db, span)
            return
        figures = await _figures(db, span)
        while json and watch:
            _print_json(figures)
            await asyncio.sleep(REFRESH)
            figures = await _figures(db, span)
    if json:
        _print_json(figures)
    else:
        out.print(_table(figures))


async def _watch(db: asyncpg.Pool, span: timedelta) -> None:
    with Live(_table(await _figures(db, span)), console=out, auto_refresh=False) as shown:
        while True:
            await asyncio.sleep(REFRESH)
            shown.update(_table(await _figures(db, span)), refresh=True)


async def _figures(db: asyncpg.Pool, span: timedelta) -> list[BlockFigures]:
    now = datetime.now(UTC)
    return await get_block_figures(db, now - span, now)


def _print_json(figures: list[BlockFigures]) -> None:
    for one in figures:
        print_json(one.model_dump(mode="json") | {"error_rate": one.error_rate})


def _table(figures: list[BlockFigures]) -> Table:
    rows = table("block", "failing", "failed", "ended", "p50", "p95", "p99", "cost", "errors")
    for one in figures:
        errors = sorted(one.error_classes.items(), key=lambda item: -item[1])
        rows.add_row(
            one.name or one.block_id,
            f"{one.error_rate:.1f} %",
            f"{one.failed:,}",
            f"{one.ended:,}",
            *(_duration(value) for value in (one.p50_ms, one.p95_ms, one.p99_ms)),
            f"{one.cost:,}",
            ", ".join(f"{name} {count}" for name, count in errors),
        )
    return rows


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:.1f} s"


def _span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise NoSpan(f"{text!r} is no span of time: say for instance 5m, 1h or 7d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
