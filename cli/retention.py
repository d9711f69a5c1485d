"""`execstream retention`: let go of the journal and the steps of days long ago."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from execstream.cli.acts import record
from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import Table, err, out
from execstream.storage.access.audit_log import Act, trim_audit
from execstream.storage.schema.retention import Day, plan_retention, trim_day

retention = App(
    name="retention",
    help="Days whose runs have all ended: preview, and let go of their journal and steps.",
)

KeepDays = Annotated[int, Parameter(validator=Number(gte=1, lte=36_500))]


@retention.command
async def plan(*, keep_days: KeepDays = 90, json: Json = False) -> None:
    """Show which days could go, and why others stay. Changes nothing.

    Parameters
    ----------
    keep_days
        Days that stay in any case, today among them.
    """
    settings = start()
    async with opened(settings) as db:
        days = await plan_retention(db, _before(keep_days))
    if json:
        for day in days:
            print_json(_item(day))
    elif days:
        out.print(_table(days))
        out.print(_sentence([day for day in days if day.can_go]))
    else:
        out.print(f"Nothing is older than {keep_days} days.")


@retention.command
async def apply(*, keep_days: KeepDays = 90, json: Json = False) -> int:
    """Let go of the days that `retention plan` shows as ready. Runs keep their row.

    Parameters
    ----------
    keep_days
        Days that stay in any case, today among them.
    """
    settings = start()
    async with opened(settings) as db:
        days = [day for day in await plan_retention(db, _before(keep_days)) if day.can_go]
        await trim_audit(db, _before(keep_days))
        gone: list[Day] = []
        stayed: list[Day] = []
        with counted() as report_progress:
            for number, day in enumerate(days, 1):
                trimmed = await trim_day(db, day.day, datetime.now(UTC))
                (stayed if trimmed is None else gone).append(day)
                report_progress("Days", number, len(days))
    await record(
        settings, Act("retention.apply", f"{keep_days} days kept", f"{len(gone)} days gone")
    )
    for day in stayed:
        err.print(f"{day.day} stays: somebody was writing to its runs. Run this again.")
    if json:
        for day in gone:
            print_json({"day": str(day.day), "runs": day.runs, "bytes": day.bytes})
    else:
        out.print(_sentence(gone, "went"))
    return 1 if stayed else 0


def _before(keep_days: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=keep_days - 1)


def _item(day: Day) -> dict[str, object]:
    return day._asdict() | {"day": str(day.day), "can_go": day.can_go}


def _table(days: Sequence[Day]) -> Table:
    rows = table("day", "runs", "size", "")
    for day in days:
        rows.add_row(str(day.day), f"{day.runs:,}", _size(day.bytes), _verdict(day))
    return rows


def _verdict(day: Day) -> str:
    if day.open_runs:
        return f"stays: {day.open_runs:,} runs have not ended"
    if day.is_unread:
        return "stays: some of its events are not published or not counted yet"
    if day.is_unarchived:
        return "stays: some of its commands are not archived yet"
    return "can go: 0 running"


def _sentence(days: Sequence[Day], verb: str = "can go") -> str:
    size = _size(sum(day.bytes for day in days))
    return f"{len(days):,} days with {sum(day.runs for day in days):,} runs {verb}: {size}"


def _size(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB"
