"""`execstream list`: runs, newest first."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from execstream.cli.common import Json, Limit, opened, print_json, print_more, start, table
from execstream.cli.terminal import Table, out
from execstream.cli.words import moment, status_text
from execstream.storage.models.graph_execution import GraphExecutionMeta
from execstream.storage.reads.as_of import list_graph_executions_as_of
from execstream.storage.reads.run_lists import list_graph_executions
from execstream.streams.attributes import read_pairs
from execstream.streams.moments import parse_instant
from execstream.streams.statuses import ExecutionStatus


async def list_runs(
    *,
    user: str | None = None,
    graph: str | None = None,
    status: Annotated[list[ExecutionStatus] | None, Parameter(negative="")] = None,
    attribute: Annotated[list[str] | None, Parameter(negative="")] = None,
    as_of: str | None = None,
    limit: Limit = 25,
    json: Json = False,
) -> None:
    """List runs, newest first.

    Parameters
    ----------
    user
        Only runs of this user.
    graph
        Only runs of this graph.
    status
        Only runs in this status; may be repeated.
    attribute
        Only runs with this attribute, as KEY=VALUE; may be repeated.
    as_of
        Runs there were at a time like 2026-03-01T14:03:00Z, in the status they had then.
    """
    when = None if as_of is None else parse_instant(as_of)
    filters: dict[str, Any] = {
        "graph_id": graph,
        "user_id": user,
        "statuses": status,
        "attributes": read_pairs(attribute or ()),
        "limit": limit,
    }
    async with opened(start()) as db:
        if when is None:
            page = await list_graph_executions(db, **filters)
        else:
            page = await list_graph_executions_as_of(db, when, **filters)
    if json:
        for run in page.data:
            print_json(run)
    else:
        out.print(_table(page.data))
    if page.next_cursor is not None:
        print_more()


def _table(runs: Sequence[GraphExecutionMeta]) -> Table:
    rows = table("run", "status", "created", "user", "ended", "graph")
    for run in runs:
        rows.add_row(
            run.id,
            status_text(run.status),
            moment(run.created_at),
            run.user_id,
            moment(run.ended_at),
            f"{run.graph_id} {run.graph_version}",
        )
    return rows
