"""Parameters that lists and counts of runs share."""

from dataclasses import fields
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Query

from execstream.dashboard.access import CurrentViewer
from execstream.dashboard.problems import ProblemError
from execstream.dashboard.responses import Time
from execstream.storage.reads.run_filters import RunFilters
from execstream.streams.attributes import MAX_ATTRIBUTES, NoAttribute, read_pairs
from execstream.streams.totals.error_classes import ErrorClass

_MOST_SECONDS = 10**9

UserId = Annotated[str | None, Query(description="Only runs of this user.")]
_Version = Annotated[int | None, Query(ge=1, lt=2**31)]
_Seconds = Annotated[
    float | None, Query(ge=0, le=_MOST_SECONDS, description="Of ended runs, in seconds.")
]
_Cost = Annotated[int | None, Query(ge=0, lt=2**63, description="Of ended runs, in cents.")]
_Attributes = Annotated[
    list[str] | None,
    Query(max_length=MAX_ATTRIBUTES, description="`key=value`, of a run that has all of these."),
]
_OfFailure = Query(description="Of a failed step of the run; all that are given, of the same one.")


def _filters(
    viewer: CurrentViewer,
    user_id: UserId = None,
    graph_id: str | None = None,
    graph_version: _Version = None,
    created_time_gte: Time | None = None,
    created_time_lte: Time | None = None,
    ended_time_gte: Time | None = None,
    ended_time_lte: Time | None = None,
    updated_time_lte: Annotated[Time | None, Query(description="Silent since then.")] = None,
    duration_gte: _Seconds = None,
    duration_lte: _Seconds = None,
    cost_gte: _Cost = None,
    error_class: Annotated[ErrorClass | None, _OfFailure] = None,
    fingerprint: Annotated[str | None, _OfFailure] = None,
    block_id: Annotated[str | None, _OfFailure] = None,
    failed_time_gte: Annotated[Time | None, _OfFailure] = None,
    attribute: _Attributes = None,
) -> RunFilters:
    return RunFilters(
        user_id=viewer.restrict_to_own(user_id),
        graph_id=graph_id,
        graph_version=graph_version,
        created_time_gte=created_time_gte,
        created_time_lte=created_time_lte,
        ended_time_gte=ended_time_gte,
        ended_time_lte=ended_time_lte,
        updated_time_lte=updated_time_lte,
        duration_gte=duration_gte,
        duration_lte=duration_lte,
        cost_gte=cost_gte,
        error_class=error_class,
        fingerprint=fingerprint,
        block_id=block_id,
        failed_time_gte=failed_time_gte,
        attributes=_attributes(attribute),
    )


def _attributes(pairs: list[str] | None) -> dict[str, str] | None:
    try:
        return read_pairs(pairs or ()) or None
    except NoAttribute as error:
        wrong = [{"in": "query", "name": "attribute", "message": str(error)}]
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "Wrong parameters: attribute.", errors=wrong
        ) from None


AskedRuns = Annotated[RunFilters, Depends(_filters)]
"""The filters of a request, of the viewer's own runs where a token is bound to a user."""

_OF_EVERY_MOMENT = (
    *("user_id", "graph_id", "graph_version", "statuses"),
    *("created_time_gte", "created_time_lte", "attributes"),
)


def filters_as_of(filters: RunFilters) -> dict[str, Any]:
    """The filters that a list as of an earlier moment has; 422 for any other one."""
    asked = {field.name: getattr(filters, field.name) for field in fields(filters)}
    wrong = [
        {"in": "query", "name": name, "message": "It is known of now only: leave out `as_of`."}
        for name, value in asked.items()
        if value is not None and name not in _OF_EVERY_MOMENT
    ]
    if wrong:
        names = ", ".join(one["name"] for one in wrong)
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"Wrong parameters: {names}.", errors=wrong
        )
    return {name: asked[name] for name in _OF_EVERY_MOMENT}
