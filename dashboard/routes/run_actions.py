"""Routes of actions on many runs: their number first, then ordinary commands, page by page."""

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any
from uuid import uuid4

from aiokafka.errors import KafkaError
from fastapi import APIRouter, Body, Query
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import CurrentViewer, Large, Read, Write
from execstream.dashboard.auditing import record
from execstream.dashboard.bodies import JsonBody
from execstream.dashboard.problems import ProblemError
from execstream.dashboard.responses import Cursor, Json, Listing, listing, now
from execstream.dashboard.routes.runs import Statuses
from execstream.dashboard.run_parameters import AskedRuns
from execstream.dashboard.services import Served, Services
from execstream.storage.access.audit_log import Act
from execstream.storage.reads.action_targets import (
    NoFilter,
    Target,
    count_targets,
    find_targets,
)
from execstream.storage.reads.run_filters import RunFilters
from execstream.streams.errors import NotDelivered, OutcomeUnknown
from execstream.streams.outcomes import reply
from execstream.streams.run_actions import RunAction, command_of

router = APIRouter(prefix="/v1/executions/actions", tags=["runs"])

MOST_RUNS = 100  # of a request
PATIENCE = 10.0  # seconds for the outcomes of a request


class ActionCount(BaseModel):
    """The number of runs that an action is for."""

    action: RunAction
    runs: int


class ActionBody(BaseModel):
    """The action to take."""

    action: RunAction


class ActionOutcome(BaseModel):
    """The outcome of the command to a run; `pending`: Kafka has it; `unconfirmed`: Kafka did not
    confirm it in time.
    """

    graph_exec_id: str
    command_id: str
    outcome: str
    reason: str | None = None
    detail: dict[str, Any] | None = None


@router.get("", response_model=ActionCount, dependencies=[Read])
async def count_runs_of_action(
    served: Served, asked: AskedRuns, action: RunAction, status: Statuses = None
) -> Response:
    """The number of runs that an action on the filtered ones is for."""
    filters = _filters(asked, status)
    try:
        return Json(
            ActionCount(action=action, runs=await count_targets(served.db, filters, action))
        )
    except NoFilter as error:
        raise _unfiltered(error) from None


@router.post("", response_model=Listing[ActionOutcome], dependencies=[Write, JsonBody, Large])
async def act_on_runs(
    served: Served,
    viewer: CurrentViewer,
    asked: AskedRuns,
    wanted: Annotated[ActionBody, Body()],
    status: Statuses = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_RUNS, description="How many at most.")] = MOST_RUNS,
) -> Response:
    """Send the action's command to a page of the filtered runs, newest first, and wait for the
    outcomes. `next_cursor` leads to those that are left.
    """
    filters = _filters(asked, status)
    try:
        targets, following = await find_targets(served.db, filters, wanted.action, cursor, limit)
    except NoFilter as error:
        raise _unfiltered(error) from None
    outcomes = await asyncio.gather(*(_act(served, wanted.action, one) for one in targets))
    acts = (Act(f"run.{wanted.action}", one.graph_exec_id, one.outcome) for one in outcomes)
    await record(served, viewer, *acts)
    return listing(outcomes, following)


async def _act(served: Services, action: RunAction, target: Target) -> ActionOutcome:
    command = command_of(action, *target, str(uuid4()), now().isoformat())
    try:
        outcome = reply(command.id, await served.sender.call(command, PATIENCE))
    except OutcomeUnknown:
        outcome = {"outcome": "pending"}
    except (NotDelivered, KafkaError):
        outcome = {"outcome": "unconfirmed"}
    known = {name: outcome.get(name) for name in ("outcome", "reason", "detail")}
    return ActionOutcome(graph_exec_id=target.run_id, command_id=command.id, **known)


def _filters(asked: RunFilters, status: Statuses) -> RunFilters:
    return replace(asked, statuses=status)


def _unfiltered(error: NoFilter) -> ProblemError:
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
