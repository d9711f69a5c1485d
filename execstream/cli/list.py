"""`execstream list`: runs, newest first."""

from typing import Annotated

from cyclopts import Parameter

from execstream.cli.common import Json, opened, out, print_json, start, table
from execstream.cli.words import moment, status_text
from storage.reads import list_graph_executions
from streams.statuses import ExecutionStatus


async def list_runs(
    *,
    user: str | None = None,
    graph: str | None = None,
    status: Annotated[list[ExecutionStatus] | None, Parameter(negative="")] = None,
    limit: int = 25,
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
    limit
        How many at most.
    """
    settings = start()
    async with opened(settings) as db:
        page = await list_graph_executions(
            db, graph_id=graph, user_id=user, statuses=status, limit=limit
        )
    if json:
        for run in page.data:
            print_json(run.model_dump(mode="json"))
        return
    rows = table("run", "status", "created", "user", "ended", "graph")
    for run in page.data:
        rows.add_row(
            run.id,
            status_text(run.status),
            moment(run.created_at),
            run.user_id,
            moment(run.ended_at),
            f"{run.graph_id} {run.graph_version}",
        )
    out.print(rows)
