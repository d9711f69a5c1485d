"""The receipt of an import: every row of the original compared with the row here."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw, Struct

from execstream.recovery.history_import.derived_ids import execution_id
from execstream.recovery.history_import.run_plan import RunPlan
from execstream.recovery.history_import.source_rows import (
    Difference,
    Json,
    LeftOut,
    RowId,
    SourceRun,
    SourceStep,
    Table,
)
from execstream.recovery.history_import.step_commands import RESUMED_AFTER, is_given
from execstream.recovery.history_import.target_rows import TargetRun, naive
from execstream.streams.totals.aggregation import amount

LISTED = 1_000  # rows of each kind

_RUN_COLUMNS = {
    "executionStatus": ("status", "status"),
    "agentGraphId": ("graph_id", "graph_id"),
    "agentGraphVersion": ("graph_version", "graph_version"),
    "agentPresetId": ("preset_id", "preset_id"),
    "userId": ("user_id", "user_id"),
    "inputs": ("inputs", "inputs"),
    "credentialInputs": ("credential_inputs", "credential_inputs"),
    "nodesInputMasks": ("nodes_input_masks", "nodes_input_masks"),
    "stats": ("stats", "stats"),
    "createdAt": ("created", "created_at"),
    "startedAt": ("started", "started_at"),
    "endedAt": ("ended", "ended_at"),
    "isDeleted": ("is_deleted", "is_deleted"),
    "isShared": ("is_shared", "is_shared"),
}
_STEP_COLUMNS = {
    "executionStatus": ("status", "status"),
    "agentNodeId": ("node_id", "node_id"),
    "agentBlockId": ("block_id", "block_id"),
    "stats": ("stats", "stats"),
    "executionData": ("execution_data", "execution_data"),
    "addedTime": ("added", "added_time"),
    "queuedTime": ("queued", "queued_time"),
    "startedTime": ("started", "started_time"),
    "endedTime": ("ended", "ended_time"),
}
_STARTING_TIMES = frozenset(("addedTime", "queuedTime"))


class _Cost(Struct):
    cost: Raw = Raw()


_cost_of = msgspec.json.Decoder(_Cost).decode


@dataclass(slots=True)
class Figures:
    """Counts of rows, of statuses, and totals, on one side. `executions` and `failed` are by block,
    `cost` is by user."""

    rows: Counter[str] = field(default_factory=Counter)
    run_statuses: Counter[str] = field(default_factory=Counter)
    step_statuses: Counter[str] = field(default_factory=Counter)
    executions: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    cost: Counter[str] = field(default_factory=Counter)

    def add_run(self, user_id: str, status: str, stats: Json) -> None:
        self.rows["runs"] += 1
        self.run_statuses[status] += 1
        if stats is not None and stats.startswith("{"):
            self.cost[user_id] += amount(_cost_of(stats).cost)

    def add_step(self, block_id: str, status: str) -> None:
        self.rows["steps"] += 1
        self.step_statuses[status] += 1
        self.executions[block_id] += 1
        self.failed[block_id] += status == "FAILED"

    def add_values(self, *, inputs: int, outputs: int) -> None:
        self.rows["inputs"] += inputs
        self.rows["outputs"] += outputs


@dataclass(slots=True)
class Receipt:
    """The result of an import.

    Attributes:
        original, imported: figures of the rows that are not left out, and of the rows here.
        left_out, differences, differing: the first rows of each kind; `counts` has their number.
            A row that is differing differs though no rule explains it.
    """

    original: Figures = field(default_factory=Figures)
    imported: Figures = field(default_factory=Figures)
    counts: Counter[str] = field(default_factory=Counter)
    left_out: list[LeftOut] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    differing: list[Difference] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Return whether every row that is not left out is here, as it was or with its listed
        difference."""
        return not self.counts["differing"]

    def add(self, plan: RunPlan, target: TargetRun | None) -> None:
        """Compare a run."""
        self._note("left_out", self.left_out, list(plan.left_out.values()))
        self._note("differences", self.differences, plan.differences)
        if plan.state is None:
            return
        self._add_original(plan)
        if target is None:
            self.add_differing(Difference(plan.row, "*", "there", "missing"))
            return
        self._add_imported(target)
        explained = {(one.row, one.column) for one in plan.differences}
        for one in _compared(plan, target):
            if (one.row, one.column) not in explained:
                self.add_differing(one)

    def add_differing(self, one: Difference) -> None:
        self._note("differing", self.differing, [one])

    def add_left_out(self, one: LeftOut) -> None:
        self._note("left_out", self.left_out, [one])

    def _note(self, kind: str, kept: list[Any], found: Sequence[Any]) -> None:
        self.counts[kind] += len(found)
        kept += found[: LISTED - len(kept)]

    def _add_original(self, plan: RunPlan) -> None:
        self.original.add_run(plan.run.user_id, plan.run.status, plan.run.stats)
        for step in kept_steps(plan):
            self.original.add_step(step.block_id or "", step.status)
            self.original.add_values(
                inputs=len(_kept(plan, step.inputs)), outputs=len(_kept(plan, step.outputs))
            )

    def _add_imported(self, target: TargetRun) -> None:
        row = target.row
        self.imported.add_run(row["user_id"], row["status"], row["stats"])
        for step in target.steps.values():
            self.imported.add_step(step["block_id"], step["status"])
        outputs = sum(value[0] for values in target.values.values() for value in values)
        inputs = sum(map(len, target.values.values())) - outputs
        self.imported.add_values(inputs=inputs, outputs=outputs)


def kept_steps(plan: RunPlan) -> list[SourceStep]:
    """Return the steps that are not left out."""
    return [one for one in plan.run.steps if RowId(Table.STEPS, one.id) not in plan.left_out]


def _kept(plan: RunPlan, values: Sequence[Any]) -> list[Any]:
    return [one for one in values if RowId(Table.VALUES, one.id) not in plan.left_out]


def _compared(plan: RunPlan, target: TargetRun) -> Iterator[Difference]:
    """The columns that differ."""
    yield from _columns(plan.row, plan.run, target.row, _RUN_COLUMNS)
    yield from _share(plan, target.row)
    steps = kept_steps(plan)
    known = {execution_id(step.id) for step in steps}
    for step_id in target.steps.keys() - known:
        yield Difference(plan.row, "steps", None, step_id)
    for step in steps:
        row, found = RowId(Table.STEPS, step.id), target.steps.get(execution_id(step.id))
        if found is None:
            yield Difference(row, "*", "there", "missing")
            continue
        for one in _columns(row, step, found, _STEP_COLUMNS):
            if not _is_of_creation(plan.run, one):
                yield one
        values = [*_kept(plan, step.inputs), *_kept(plan, step.outputs)]
        given = Counter((one.is_output, one.name, one.data or "null") for one in values)
        if given != Counter(target.values[execution_id(step.id)]):
            yield Difference(row, "values", len(values), "other values")


def _columns(
    row: RowId,
    original: SourceRun | SourceStep,
    found: Mapping[str, Any],
    columns: Mapping[str, tuple[str, str]],
) -> Iterator[Difference]:
    for column, (attribute, name) in columns.items():
        was, is_now = getattr(original, attribute), naive(found[name])
        if was == is_now or (was == "null" and is_now is None):
            continue
        # A step is queued with data here, which may be its inputs.
        if column != "executionData" or is_given(was):
            yield Difference(row, column, was, is_now)


def _share(plan: RunPlan, found: Mapping[str, Any]) -> Iterator[Difference]:
    token = plan.run.share_token if plan.run.is_shared else None
    wanted = None if token is None else sha256(token.encode()).hexdigest()
    if wanted != found["share_token_hash"]:
        yield Difference(plan.row, "shareToken", "its hash", "another hash")


def _is_of_creation(run: SourceRun, one: Difference) -> bool:
    """Return whether it is a time of a starting step, which has that of the run's creation."""
    if one.column not in _STARTING_TIMES or one.imported != run.created:
        return False
    was: Any = one.original
    return was is not None and abs(was - run.created) < RESUMED_AFTER
