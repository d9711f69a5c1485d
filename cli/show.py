"""`execstream show`: one run with its steps, inputs and outputs."""

from collections.abc import Mapping
from typing import Annotated

import asyncpg
from cyclopts import Parameter

from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.terminal import Text, out
from execstream.cli.words import moment, status_text
from execstream.dashboard.reads.catalogue import list_blocks
from execstream.storage.models.graph_execution import GraphExecutionWithNodes
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.stats import error_text
from execstream.storage.reads.as_of import find_past, get_graph_execution_as_of
from execstream.storage.reads.run_detail import get_graph_execution
from execstream.storage.reads.run_lists import get_graph_executions
from execstream.streams.errors import Fatal
from execstream.streams.moments import Moment, parse_moment


class NoSuchRun(Fatal):
    """No run has that id, or it was deleted."""


def no_such_run(graph_exec_id: str) -> NoSuchRun:
    return NoSuchRun(f"There is no run {graph_exec_id}: `execstream list` shows those there are.")


async def show(
    graph_exec_id: Annotated[str, Parameter(name="GRAPH_EXEC_ID")],
    /,
    *,
    as_of: str | None = None,
    json: Json = False,
) -> None:
    """Show one run with its steps, now or as of a moment.

    Parameters
    ----------
    as_of
        As it was at a time like 2026-03-01T14:03:00Z, or after its entry of a number like 12.
    """
    when = None if as_of is None else parse_moment(as_of)
    async with opened(start()) as db:
        if when is None:
            run = await _run(db, graph_exec_id)
        else:
            run = await run_at(db, graph_exec_id, when)
        blocks = {block.block_id: block.name for block in await list_blocks(db)}
    if json:
        print_json(run)
    else:
        _print(run, blocks)


async def _run(db: asyncpg.Pool, graph_exec_id: str) -> GraphExecutionWithNodes:
    found = await get_graph_executions(db, graph_exec_id=graph_exec_id)
    run = found and await get_graph_execution(
        db, found[0].user_id, graph_exec_id, include_node_executions=True
    )
    if not run:
        raise no_such_run(graph_exec_id)
    return run


async def run_at(db: asyncpg.Pool, graph_exec_id: str, when: Moment) -> GraphExecutionWithNodes:
    """Return the run at an earlier moment. Raises NoSuchRun, and the errors of
    `get_graph_execution_as_of`.
    """
    past = await find_past(db, graph_exec_id, when)
    run = past and await get_graph_execution_as_of(db, past.user_id, graph_exec_id, past.seq)
    if not run:
        then = f"entry {when}" if isinstance(when, int) else f"{moment(when)} UTC"
        raise NoSuchRun(f"There was no run {graph_exec_id} as of {then}, or it was deleted since.")
    return run


def _print(run: GraphExecutionWithNodes, blocks: Mapping[str, str]) -> None:
    out.print(Text.assemble("run      ", run.id, "  ", status_text(run.status)))
    out.print(f"graph    {run.graph_id} version {run.graph_version}")
    out.print(f"user     {run.user_id}")
    for name, time in (
        ("created", run.created_at),
        ("started", run.started_at),
        ("ended", run.ended_at),
    ):
        out.print(f"{name:<8} {moment(time)}")
    if run.stats is not None and run.stats.error:
        out.print(f"error    {run.stats.error}", soft_wrap=True)
    out.print(f"inputs   {', '.join(run.inputs) or '-'}")
    out.print(f"outputs  {', '.join(run.outputs) or '-'}")
    if run.trimmed_at:
        out.print(f"Retention dropped its steps, outputs and journal at {moment(run.trimmed_at)}.")
        return
    steps = table(
        "step", "status", "block", "in", "out", "added", "ended", "error", "node", free=("error",)
    )
    for step in run.node_executions:
        steps.add_row(
            step.node_exec_id,
            status_text(step.status),
            Text(blocks.get(step.block_id, step.block_id)),
            str(len(step.input_data)),
            str(sum(map(len, step.output_data.values()))),
            moment(step.add_time),
            moment(step.end_time),
            Text(_error(step)),
            step.node_id,
        )
    out.print(steps)


def _error(step: NodeExecutionResult) -> str:
    """Why it failed, in one line."""
    error = error_text(step.stats.error) if step.stats is not None else None
    return " ".join((error or "").split())
