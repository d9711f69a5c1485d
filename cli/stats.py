"""`execstream stats`: figures of blocks."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
from cyclopts import App, Parameter
from rich.live import Live

from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.common import since as begin_of
from execstream.cli.terminal import Table, out
from execstream.storage.reads.block_figures import BlockFigures, get_block_figures

REFRESH = 1.0  # seconds

stats = App(name="stats", help="Figures over all runs, from the totals of the tally.")


@stats.command
async def blocks(
    *,
    since: str = "1h",
    watch: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Show for each block the number of steps that ended and failed, their durations and costs.

    Steps that failed because their run ended are counted as cascaded only. Those that ended at a
    time more than an hour ahead of the broker's are counted as skewed only. By the caller: failures
    that the caller's input or credentials caused. All figures are of the time that `since` names.

    Parameters
    ----------
    since
        How far to look back, in whole minutes: a number and s, m, h or d, or a time like
        2026-03-01T14:03:00Z.
    watch
        Show it again every second until Ctrl-C.
    """
    begin_of(since, datetime.now(UTC))  # raises for a wrong value before anything is opened
    settings = start()
    async with opened(settings) as db:
        if watch and not json:
            await _watch(db, since)
            return
        figures = await _figures(db, since)
        while json and watch:
            _print_json(figures)
            await asyncio.sleep(REFRESH)
            figures = await _figures(db, since)
    if json:
        _print_json(figures)
    else:
        out.print(_table(figures, since))


async def _watch(db: asyncpg.Pool, since: str) -> None:
    with Live(_table(await _figures(db, since), since), console=out, auto_refresh=False) as shown:
        while True:
            await asyncio.sleep(REFRESH)
            shown.update(_table(await _figures(db, since), since), refresh=True)


async def _figures(db: asyncpg.Pool, since: str) -> list[BlockFigures]:
    now = datetime.now(UTC)
    return await get_block_figures(db, begin_of(since, now), now)


def _print_json(figures: list[BlockFigures]) -> None:
    for one in figures:
        rates = {"error_rate": one.error_rate, "caller_error_rate": one.caller_error_rate}
        print_json(one.model_dump() | rates)


_COSTS = ("p50", "p95", "p99", "cost")


def _table(figures: list[BlockFigures], since: str) -> Table:
    columns = ("by the caller", "failed", "ended", "cascaded", "skewed", *_COSTS)
    rows = table("block", f"failing, {since}", *columns, "errors", free=("errors",))
    for one in figures:
        errors = sorted(one.error_classes.items(), key=lambda item: -item[1])
        rows.add_row(
            one.name or one.block_id,
            f"{one.error_rate:.1f} %",
            f"{one.caller_error_rate:.1f} %",
            *(f"{count:,}" for count in (one.failed, one.ended, one.cascaded, one.skewed)),
            *(_duration(value) for value in (one.p50_ms, one.p95_ms, one.p99_ms)),
            f"{one.cost:,}",
            ", ".join(f"{name} {count}" for name, count in errors),
        )
    return rows


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:.1f} s"
