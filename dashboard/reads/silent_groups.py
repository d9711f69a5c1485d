"""Runs that began and are silent, together with others that wait for the same block."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

import asyncpg
from pydantic import BaseModel

from execstream.storage.alerts.figures import SilentRun, load_silent

LEAST_SILENCE = 300.0  # seconds
MOST = 8


class SilentGroup(BaseModel):
    """Runs without a command for 5 minutes in which a step of `block_id` runs; null: no step does.
    `graph_exec_id`: the one that has been silent longest, `node_exec_id` its step. Of all users
    1,000 runs are counted at most.
    """

    block_id: str | None
    runs: int
    users: int
    silent_since: datetime
    graph_exec_id: str
    node_exec_id: str | None


async def list_silent_groups(db: asyncpg.Pool) -> list[SilentGroup]:
    """The largest groups first."""
    async with db.acquire() as connection:
        silent = await load_silent(connection, LEAST_SILENCE)
    groups: dict[str | None, list[SilentRun]] = defaultdict(list)
    for run in silent:
        groups[run.steps[0].block_id if run.steps else None].append(run)
    found = [_group(block_id, runs) for block_id, runs in groups.items()]
    return sorted(found, key=lambda group: -group.runs)[:MOST]


def _group(block_id: str | None, runs: Iterable[SilentRun]) -> SilentGroup:
    first, *others = sorted(runs, key=lambda run: run.silent_since)
    return SilentGroup(
        block_id=block_id,
        runs=1 + len(others),
        users=len({run.user_id for run in (first, *others)}),
        silent_since=first.silent_since,
        graph_exec_id=first.graph_exec_id,
        node_exec_id=first.steps[0].node_exec_id if first.steps else None,
    )
