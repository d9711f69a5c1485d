"""The expected answers of reads, computed the slow way from the rows of the reference."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from execstream.streams.statuses import ENDED
from execstream.workload.reference import Reference

Row = dict[str, Any]
Filters = dict[str, Any]
Check = Callable[[Row], bool]

_STATS = {
    "cost": "cost",
    "duration": "walltime",
    "duration_cpu_only": "cputime",
    "node_exec_time": "nodes_walltime",
    "node_exec_time_cpu_only": "nodes_cputime",
    "node_exec_count": "node_count",
    "node_error_count": "node_error_count",
}
_TEXTS = ("error", "activity_status", "correctness_score")


def exact(value: Any) -> Any:
    """Numbers with a fraction as written, for comparison."""
    if isinstance(value, BaseModel):
        return exact(value.model_dump())
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return value


class Expected:
    """`kinds`: of blocks, by their id."""

    def __init__(self, reference: Reference, kinds: dict[str, str]) -> None:
        self._kinds = kinds
        self.key_values = {place: row["data"] for place, row in reference.kv.items()}
        self.all_runs = list(reference.runs.values())
        self.runs = sorted(
            (run for run in self.all_runs if not run["is_deleted"]),
            key=lambda run: (run["created_at"], run["id"]),
            reverse=True,
        )
        by_id = {run["id"]: run for run in self.runs}
        self.all_steps = list(reference.steps.values())
        self.steps = sorted(
            (
                step | {"run": by_id[step["graph_exec_id"]]}
                for step in self.all_steps
                if step["graph_exec_id"] in by_id
            ),
            key=_step_order,
        )

    # ---- runs --------------------------------------------------------------------------------

    def run_ids(self, filters: Filters) -> list[str]:
        checks: dict[str, Check] = {
            "graph_exec_id": lambda run: run["id"] == filters["graph_exec_id"],
            "graph_id": lambda run: run["graph_id"] == filters["graph_id"],
            "graph_version": lambda run: run["graph_version"] == filters["graph_version"],
            "user_id": lambda run: run["user_id"] == filters["user_id"],
            "statuses": lambda run: run["status"] in filters["statuses"],
            "created_time_gte": lambda run: run["created_at"] >= filters["created_time_gte"],
            "created_time_lte": lambda run: run["created_at"] <= filters["created_time_lte"],
        }
        return [run["id"] for run in self.runs if all(checks[name](run) for name in filters)]

    def meta(self, run: Row) -> Row:
        """The fields of `GraphExecutionMeta`."""
        same = (
            "id",
            "user_id",
            "graph_id",
            "graph_version",
            "inputs",
            "credential_inputs",
            "nodes_input_masks",
            "preset_id",
            "status",
            "created_at",
            "started_at",
            "ended_at",
            "is_shared",
            "trimmed_at",
            "attributes",
        )
        return {name: run[name] for name in same} | {
            "is_dry_run": run["dry_run"],
            "share_token": None,
            "stats": _stats(run["stats"]),
        }

    def whole(self, run: Row) -> Row:
        """The fields of `GraphExecutionWithNodes`."""
        mine = [step for step in self.steps if step["graph_exec_id"] == run["id"]]
        begun = [
            (self._kinds.get(step["block_id"], ""), _input_data(step))
            for step in mine
            if step["status"] != "INCOMPLETE"
        ]
        return self.meta(run) | {
            "inputs": _inputs(run["inputs"], begun),
            "outputs": _outputs(begun),
            "node_executions": [self.result(step) for step in mine],
        }

    def children(self, parent: Row) -> list[str]:
        return [
            run["id"]
            for run in self.runs
            if run["parent_graph_exec_id"] == parent["id"] and run["user_id"] == parent["user_id"]
        ]

    # ---- steps -------------------------------------------------------------------------------

    def step_ids(self, filters: Filters) -> list[str]:
        checks: dict[str, Check] = {
            "graph_exec_id": lambda step: step["graph_exec_id"] == filters["graph_exec_id"],
            "user_id": lambda step: step["run"]["user_id"] == filters["user_id"],
            "node_id": lambda step: step["node_id"] == filters["node_id"],
            "block_ids": lambda step: step["block_id"] in filters["block_ids"],
            "statuses": lambda step: step["status"] in filters["statuses"],
            "created_time_gte": lambda step: step["added_time"] >= filters["created_time_gte"],
            "created_time_lte": lambda step: step["added_time"] <= filters["created_time_lte"],
        }
        return [step["id"] for step in self.steps if all(checks[name](step) for name in filters)]

    def result(self, step: Row) -> Row:
        """The fields of `NodeExecutionResult` but for the stats."""
        run = step["run"]
        return {
            **{name: run[name] for name in ("user_id", "graph_id", "graph_version")},
            **{name: step[name] for name in ("graph_exec_id", "node_id", "block_id", "status")},
            "node_exec_id": step["id"],
            "input_data": _input_data(step),
            "output_data": _lists(step["outputs"]),
            "add_time": step["added_time"],
            "queue_time": step["queued_time"],
            "start_time": step["started_time"],
            "end_time": step["ended_time"],
        }

    def latest(self, run_id: str, node_id: str) -> str | None:
        found = [
            step
            for step in self.steps
            if step["graph_exec_id"] == run_id
            and step["node_id"] == node_id
            and step["status"] not in ("INCOMPLETE", "REVIEW")
        ]
        return max(found, key=_newest)["id"] if found else None

    # ---- figures -----------------------------------------------------------------------------

    def block_errors(self, start: datetime, end: datetime, at_least: int) -> dict[str, Any]:
        """(all, failed) by block."""
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for step in self.all_steps:
            if start <= step["added_time"] < end:
                counts[step["block_id"]][0] += 1
                counts[step["block_id"]][1] += step["status"] == "FAILED"
        return {block: tuple(two) for block, two in counts.items() if two[0] >= at_least}

    def frequent(self, since: datetime, at_least: int) -> dict[tuple[str, str], int]:
        counts = Counter(
            (run["graph_id"], run["user_id"])
            for run in self.runs
            if run["created_at"] >= since and run["status"] in ENDED
        )
        return {graph: count for graph, count in counts.items() if count >= at_least}

    def cost(self, user_id: str, start: datetime, end: datetime) -> tuple[int, int, int, int]:
        """Runs, their cost, failed ones, their cost."""
        mine = [
            run
            for run in self.all_runs
            if run["user_id"] == user_id and start <= run["created_at"] < end and not run["dry_run"]
        ]
        failed = [run for run in mine if run["status"] == "FAILED"]
        return len(mine), _sum(mine), len(failed), _sum(failed)


def _step_order(step: Row) -> tuple[Any, ...]:
    queued = step["queued_time"]
    return queued is None, queued or step["added_time"], step["graph_exec_id"], step["added_seq"]


def _newest(step: Row) -> tuple[Any, ...]:
    queued = step["queued_time"]
    return queued is not None, queued or step["added_time"], step["added_time"], step["added_seq"]


def _input_data(step: Row) -> Row:
    cleared = (step["stats"] or {}).get("cleared_inputs")
    if cleared:
        return {pin: messages[-1] for pin, messages in cleared.items()}
    data: Row = step["inputs"] if step["execution_data"] is None else step["execution_data"]
    return data


def _lists(entries: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {}
    for name, value in entries:
        lists.setdefault(name, []).append(value)
    return lists


def _inputs(stored: Row | None, begun: list[tuple[str, Row]]) -> Row:
    told = {
        data["name"]: data.get("value")
        for kind, data in begun
        if kind == "INPUT" and isinstance(data.get("name"), str)
    }
    payloads = [
        data["payload"] for kind, data in begun if kind.startswith("WEBHOOK") and "payload" in data
    ]
    return (told if stored is None else stored) | ({"payload": payloads[-1]} if payloads else {})


def _outputs(begun: list[tuple[str, Row]]) -> dict[str, list[Any]]:
    return _lists(
        (data["name"], data.get("value"))
        for kind, data in begun
        if kind == "OUTPUT" and isinstance(data.get("name"), str)
    )


def _stats(stored: Row | None) -> Row | None:
    if stored is None:
        return None
    return {name: stored.get(theirs, 0) for name, theirs in _STATS.items()} | {
        name: stored.get(name) for name in _TEXTS
    }


def _sum(runs: Iterable[Row]) -> int:
    return sum((run["stats"] or {}).get("cost", 0) for run in runs)
