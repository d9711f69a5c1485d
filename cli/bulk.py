"""`execstream bulk`: one action on many runs, after their number."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
from aiokafka.errors import KafkaError
from cyclopts import Parameter

from execstream.cli.acts import record
from execstream.cli.common import Json, opened, print_json, since, start
from execstream.cli.terminal import err, out
from execstream.client.execution_client import ExecutionClient
from execstream.client.ids import uuid7
from execstream.config.settings import Settings
from execstream.storage.access.audit_log import Act
from execstream.storage.reads.action_targets import Target, count_targets, find_targets
from execstream.storage.reads.run_filters import RunFilters
from execstream.streams.attributes import read_pairs
from execstream.streams.errors import NotDelivered, OutcomeUnknown
from execstream.streams.outcomes import reply
from execstream.streams.run_actions import RunAction, command_of
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.totals.error_classes import ErrorClass

AT_ONCE = 100  # runs
PATIENCE = 30.0  # seconds for an outcome


async def bulk(
    action: RunAction,
    /,
    *,
    user: str | None = None,
    graph: str | None = None,
    graph_version: int | None = None,
    status: Annotated[list[ExecutionStatus] | None, Parameter(negative="")] = None,
    attribute: Annotated[list[str] | None, Parameter(negative="")] = None,
    created_since: str | None = None,
    error_class: ErrorClass | None = None,
    fingerprint: str | None = None,
    block: str | None = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Terminate, resume or delete many runs. Without --yes their number is all that is printed.

    Each run gets an ordinary command, which the rules may refuse.

    Parameters
    ----------
    action
        terminate, resume, or delete (runs are hidden, not erased).
    user
        Only runs of this user.
    graph
        Only runs of this graph.
    graph_version
        Only runs of this version.
    status
        Only runs in this status; may be repeated.
    attribute
        Only runs with this attribute, as KEY=VALUE; may be repeated.
    created_since
        Only runs created since then: a span like 1h, or a time.
    error_class
        Only runs with a failed step of this class of errors.
    fingerprint
        Only runs with a failed step of this fingerprint.
    block
        Only runs with a failed step of this block.
    yes
        Send the commands.
    """
    filters = RunFilters(
        user_id=user,
        graph_id=graph,
        graph_version=graph_version,
        statuses=status,
        created_time_gte=None if created_since is None else since(created_since, _now()),
        error_class=error_class,
        fingerprint=fingerprint,
        block_id=block,
        attributes=read_pairs(attribute or ()) or None,
    )
    settings = start()
    async with opened(settings) as db:
        count = await count_targets(db, filters, action)
        if yes:
            return await _act_on_all(settings, db, filters, action, json=json)
    if json:
        print_json({"action": action, "runs": count})
    else:
        out.print(f"{action} {count:,} runs: add --yes to do so.")
    return 0


async def _act_on_all(
    settings: Settings, db: asyncpg.Pool, filters: RunFilters, action: RunAction, *, json: bool
) -> int:
    """Act on page after page; what a page has done is in the audit before the next one begins."""
    told: Counter[str] = Counter()
    cursor = None
    async with ExecutionClient() as client:
        while True:
            targets, cursor = await find_targets(db, filters, action, cursor, AT_ONCE)
            outcomes = await asyncio.gather(*(_act(client, action, one) for one in targets))
            acts = [Act(f"run.{action}", one["graph_exec_id"], one["outcome"]) for one in outcomes]
            await record(settings, *acts)
            told.update(one["outcome"] for one in outcomes)
            for outcome in outcomes if json else ():
                print_json(outcome)
            if cursor is None:
                break
    err.print(", ".join(f"{number:,} {outcome}" for outcome, number in told.items()) or "no runs")
    return 0 if set(told) <= {"applied", "duplicate"} else 1


async def _act(client: ExecutionClient, action: RunAction, target: Target) -> dict[str, Any]:
    command = command_of(action, *target, uuid7(), _now().isoformat())
    try:
        outcome = reply(command.id, await client.call(command, PATIENCE))
    except OutcomeUnknown:
        outcome = {"command_id": command.id, "outcome": "pending"}
    except (NotDelivered, KafkaError):  # of one run: those of the others are told and audited
        outcome = {"command_id": command.id, "outcome": "unconfirmed"}
    return {"graph_exec_id": target.run_id, **outcome}


def _now() -> datetime:
    return datetime.now(UTC)
