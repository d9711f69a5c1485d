"""`execstream diff`: the changes of a run between two moments."""

from typing import Annotated, Any

from cyclopts import Parameter

from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.show import run_at
from execstream.cli.terminal import Text, out
from execstream.cli.words import STYLES
from execstream.recovery.run_diff import Change, differences
from execstream.streams.moments import parse_moment
from execstream.streams.statuses import ExecutionStatus

MOST_SHOWN = 60  # characters of a value


async def diff(
    graph_exec_id: Annotated[str, Parameter(name="GRAPH_EXEC_ID")],
    first: Annotated[str, Parameter(name="MOMENT1")],
    second: Annotated[str, Parameter(name="MOMENT2")],
    /,
    *,
    json: Json = False,
) -> None:
    """Show the changes of a run between two moments.

    Parameters
    ----------
    first
        The number of an entry like 12, or a time like 2026-03-01T14:03:00Z.
    second
        The other moment.
    """
    moments = parse_moment(first), parse_moment(second)
    async with opened(start()) as db:
        runs = [await run_at(db, graph_exec_id, moment) for moment in moments]
    before, after = (run.model_dump(mode="json") for run in runs)
    changes = differences(before, after)
    if json:
        document = {"graph_exec_id": graph_exec_id, "from": first, "to": second}
        print_json(document | {"changes": [change._asdict() for change in changes]})
        return
    rows = table("where", "field", first, second, free=(first, second))
    for change in changes:
        rows.add_row(_where(change), change.field, _shown(change.was), _shown(change.is_now))
    out.print(rows if changes else "Nothing changed.")


def _where(change: Change) -> str:
    return "run" if change.node_exec_id is None else f"{change.node_id} {change.node_exec_id}"


def _shown(value: Any) -> Text:
    """A value in so many characters; a status in its colour."""
    if isinstance(value, str) and value in ExecutionStatus.__members__:
        return Text(value, STYLES[ExecutionStatus(value)])
    text = "-" if value is None else str(value)
    return Text(text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…")
