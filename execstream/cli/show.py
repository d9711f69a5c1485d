"""`execstream show`: one run with its steps, inputs and outputs."""

from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from execstream.cli.common import Json, opened, out, print_json, start, table
from execstream.cli.words import moment, status_text
from storage.models import GraphExecutionWithNodes
from storage.reads import get_graph_execution, get_graph_executions
from streams.errors import Fatal


class NoSuchRun(Fatal):
    """There is no run of that id, or it was deleted."""


async def show(
    graph_exec_id: Annotated[str, Parameter(name="GRAPH_EXEC_ID")], /, *, json: Json = False
) -> None:
    """Show one run with its steps."""
    settings = start()
    async with opened(settings) as db:
        found = await get_graph_executions(db, graph_exec_id=graph_exec_id)
        run = found and await get_graph_execution(
            db, found[0].user_id, graph_exec_id, include_node_executions=True
        )
    if not run:
        raise NoSuchRun(
            f"There is no run {graph_exec_id}: `execstream list` shows those there are."
        )
    if json:
        print_json(run.model_dump(mode="json"))
    else:
        _print(run)


def _print(run: GraphExecutionWithNodes) -> None:
    out.print(Text.assemble("run      ", run.id, "  ", status_text(run.status)))
    out.print(f"graph    {run.graph_id} version {run.graph_version}", markup=False)
    out.print(f"user     {run.user_id}", markup=False)
    for name, time in (
        ("created", run.created_at),
        ("started", run.started_at),
        ("ended", run.ended_at),
    ):
        out.print(f"{name:<8} {moment(time)}")
    out.print(f"inputs   {', '.join(run.inputs) or '-'}", markup=False)
    out.print(f"outputs  {', '.join(run.outputs) or '-'}", markup=False)
    steps = table("step", "status", "in", "out", "added", "ended", "node")
    for step in run.node_executions:
        steps.add_row(
            step.node_exec_id,
            status_text(step.status),
            str(len(step.input_data)),
            str(sum(map(len, step.output_data.values()))),
            moment(step.add_time),
            moment(step.end_time),
            step.node_id,
        )
    out.print(steps)
