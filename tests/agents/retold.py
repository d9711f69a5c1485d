"""Messages computed the slow way: each from the decoded events up to it."""

import json
from decimal import Decimal
from typing import Any

Json = dict[str, Any]

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
_TIMES = {
    "add_time": "added_time",
    "queue_time": "queued_time",
    "start_time": "started_time",
    "end_time": "ended_time",
}


def exactly(text: bytes) -> Any:
    """JSON with its numbers as they are written."""
    return json.loads(text, parse_float=Decimal)


def payload(events: list[Json], block_types: dict[str, str]) -> Json:
    """The payload for the last of a run's `events`, which are all there were."""
    last = events[-1]
    state = (
        _step(events, last["node_exec_id"]) if "node_exec_id" in last else _run(events, block_types)
    )
    shared = ("seq", "command_id", "source", "user_id", "graph_id", "graph_version")
    return state | {name: last[name] for name in shared}


def _step(events: list[Json], step_id: str) -> Json:
    mine = [event for event in events if event.get("node_exec_id") == step_id]
    offset_commits = [e for e in mine if e["type"] in ("node.added", "node.updated")]
    stats = _newest(offset_commits, "stats") or {}
    inputs = {e["name"]: e["data"] for e in mine if e["type"] == "node.input_added"}
    outputs: dict[str, list[Any]] = {}
    for event in mine:
        if event["type"] == "node.output_added":
            outputs.setdefault(event["name"], []).append(event["data"])
    cleared = stats.get("cleared_inputs")
    execution_data = _newest(offset_commits, "execution_data")
    return {
        "event_type": "node_execution_update",
        "graph_exec_id": mine[0]["graph_exec_id"],
        "node_exec_id": step_id,
        "node_id": mine[0]["node_id"],
        "block_id": mine[0]["block_id"],
        "status": _newest(offset_commits, "status"),
        "input_data": {pin: messages[-1] for pin, messages in cleared.items()}
        if cleared
        else (inputs if execution_data is None else execution_data),
        "output_data": stats.get("cleared_outputs") or outputs,
    } | {ours: offset_commits[-1].get(theirs) for ours, theirs in _TIMES.items()}


def _run(events: list[Json], block_types: dict[str, str]) -> Json:
    last, created = events[-1], events[0]
    offset_commits = [event for event in events if event["type"] == "graph.updated"]
    shares = [event for event in events if event["type"] == "graph.shared"]
    known = {
        "event_type": "graph_execution_update",
        "id": created["graph_exec_id"],
        "status": _newest([created, *offset_commits], "status"),
        "started_at": offset_commits[-1]["started_at"] if offset_commits else None,
        "ended_at": offset_commits[-1]["ended_at"] if offset_commits else None,
    }
    if last.get("hard"):
        return known | _ERASED
    steps = _interface_steps(events, block_types)
    return known | {
        "inputs": _inputs(created.get("inputs"), steps),
        "outputs": _outputs(steps),
        "credential_inputs": created.get("credential_inputs"),
        "nodes_input_masks": created.get("nodes_input_masks"),
        "preset_id": created.get("preset_id"),
        "is_shared": shares[-1]["is_shared"] if shares else False,
        "stats": _stats(_newest(offset_commits, "stats")),
    }


_ERASED: Json = {
    "inputs": {},
    "outputs": {},
    "credential_inputs": None,
    "nodes_input_masks": None,
    "preset_id": None,
    "is_shared": False,
    "stats": None,
}


def _interface_steps(events: list[Json], block_types: dict[str, str]) -> list[tuple[str, Json]]:
    """(kind, step) of those that have begun, as readers sort them."""
    ids = dict.fromkeys(event["node_exec_id"] for event in events if "node_exec_id" in event)
    steps = [_step(events, step_id) for step_id in ids]
    begun = [
        (block_types[step["block_id"]], step)
        for step in steps
        if step["block_id"] in block_types and step["status"] != "INCOMPLETE"
    ]
    return sorted(
        begun,
        key=lambda pair: (
            pair[1]["queue_time"] is None,
            pair[1]["queue_time"] or pair[1]["add_time"],
        ),
    )


def _inputs(stored: Json | None, steps: list[tuple[str, Json]]) -> Json:
    found: Json = {}
    payload: Json = {}
    for kind, step in steps:
        data = step["input_data"]
        if kind == "INPUT" and isinstance(data.get("name"), str):
            found[data["name"]] = data.get("value")
        elif kind.startswith("WEBHOOK") and "payload" in data:
            payload = {"payload": data["payload"]}
    return (found if stored is None else stored) | payload


def _outputs(steps: list[tuple[str, Json]]) -> dict[str, list[Any]]:
    outputs: dict[str, list[Any]] = {}
    for kind, step in steps:
        data = step["input_data"]
        if kind == "OUTPUT" and isinstance(data.get("name"), str):
            outputs.setdefault(data["name"], []).append(data.get("value"))
    return outputs


def _stats(stored: Json | None) -> Json | None:
    if stored is None or not isinstance(stored.get("cost", 0), int):
        return None
    numbers = {ours: stored.get(theirs, 0) for ours, theirs in _STATS.items()}
    return numbers | {name: stored.get(name) for name in _TEXTS}


def _newest(events: list[Json], name: str) -> Any:
    told = [event[name] for event in events if name in event]
    return told[-1] if told else None
