"""Conditions on runs, as lists and counts of them share them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from execstream.storage.querying import Where
from execstream.storage.reads.costs import COST
from execstream.streams import exact_json
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.text import clean_text

# As the indexes of durations and costs have them.
DURATION = "(ended_at - started_at)"
REPORTED_COST = f"({COST})"


@dataclass(frozen=True, slots=True)
class RunFilters:
    """Conditions on the runs of a list, or of counts; None asks for nothing.

    Attributes:
        updated_time_lte: silent since then: no later command was applied to it.
        duration_gte: seconds from start to end, of a run that has ended.
        cost_gte: cents, as the producer of a run that has ended reported them.
        error_class: of a failure of one of its steps, as are `fingerprint`, `block_id` and
            `failed_time_gte`: all of the same failure.
        attributes: a run has all of these, and may have others.
    """

    user_id: str | None = None
    graph_id: str | None = None
    graph_version: int | None = None
    statuses: Sequence[ExecutionStatus] | None = None
    created_time_gte: datetime | None = None
    created_time_lte: datetime | None = None
    ended_time_gte: datetime | None = None
    ended_time_lte: datetime | None = None
    updated_time_lte: datetime | None = None
    duration_gte: float | None = None
    duration_lte: float | None = None
    cost_gte: int | None = None
    error_class: str | None = None
    fingerprint: str | None = None
    block_id: str | None = None
    failed_time_gte: datetime | None = None
    attributes: Mapping[str, str] | None = None

    def where(self) -> Where:
        """The conditions on rows of `graph_execution`; deleted runs are hidden."""
        where = Where("not is_deleted")
        where.add("user_id = {}", self.user_id)
        where.add("graph_id = {}", self.graph_id)
        where.add("graph_version = {}", self.graph_version)
        where.add_any("status = any({})", self.statuses)
        where.add("created_at >= {}", self.created_time_gte)
        where.add("created_at <= {}", self.created_time_lte)
        where.add("ended_at >= {}", self.ended_time_gte)
        where.add("ended_at <= {}", self.ended_time_lte)
        where.add("updated_at <= {}", self.updated_time_lte)
        where.add(f"{DURATION} >= make_interval(secs => {{}})", self.duration_gte)
        where.add(f"{DURATION} <= make_interval(secs => {{}})", self.duration_lte)
        where.add(f"ended_at is not null and {REPORTED_COST} >= {{}}::bigint", self.cost_gte)
        add_attributes(where, self.attributes)
        self._add_failure(where)
        return where

    def _add_failure(self, where: Where) -> None:
        failure = Where()
        failure.args = where.args
        failure.add("class = {}", self.error_class)
        failure.add("fingerprint = {}", self.fingerprint)
        failure.add("block_id = {}", self.block_id)
        failure.add("last_at >= {}", self.failed_time_gte)
        if failure:
            where.require(f"id in (select graph_exec_id from run_error where {failure})")


def add_attributes(where: Where, attributes: Mapping[str, str] | None, run: str = "") -> None:
    """Ask for runs with all of `attributes`, cleaned as they are stored. `run`: the table's alias,
    with its dot.
    """
    if attributes:
        asked = {key: clean_text(value) for key, value in attributes.items()}
        where.add(f"{run}attributes @> {{}}::text::jsonb", exact_json.encode(asked).decode())
