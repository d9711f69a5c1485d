"""Changes of a run from one moment to another."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

RunDocument = Mapping[str, Any]
"""A `GraphExecutionWithNodes`, or a part of it, as the JSON that `show --json` prints."""

_NESTED = frozenset({"inputs", "outputs", "stats", "input_data", "output_data", "attributes"})


class Change(NamedTuple):
    """A field that differs; of a step unless `node_exec_id` is None.

    A step that came (or, looked at backwards, went) is one change of the field `step`, and so is
    each of its other fields that has a value.
    """

    node_exec_id: str | None
    node_id: str | None
    field: str  # with the name of an item: `inputs.question`, `output_data.out`
    was: Any
    is_now: Any


def differences(before: RunDocument, after: RunDocument) -> list[Change]:
    """The run's own fields first, then its steps in the order of `after`."""
    changes = [Change(None, None, *one) for one in _fields(_own(before), _own(after))]
    steps = {step["node_exec_id"]: step for step in before["node_executions"]}
    for step in after["node_executions"]:
        changes += _of_step(steps.pop(step["node_exec_id"], None), step)
    for step in steps.values():
        changes += _of_step(step, None)
    return changes


def _own(run: RunDocument) -> RunDocument:
    return {name: value for name, value in run.items() if name != "node_executions"}


def _of_step(before: RunDocument | None, after: RunDocument | None) -> Iterator[Change]:
    step = after or before or {}
    place = step["node_exec_id"], step["node_id"]
    if before is None or after is None:
        yield Change(*place, "step", before and before["status"], after and after["status"])
    same = {"node_exec_id", "node_id", *(() if before and after else ("status",))}
    same |= {"user_id", "graph_id", "graph_version", "graph_exec_id"}
    for one in _fields(before or {}, after or {}):
        if one[0] not in same:
            yield Change(*place, *one)


def _fields(before: RunDocument, after: RunDocument) -> Iterator[tuple[str, Any, Any]]:
    """(field, value before, value after) of all that differ; a missing value is None."""
    for name, was, is_now in _differing(before, after):
        if name in _NESTED:
            for item, old, new in _differing(was or {}, is_now or {}):
                yield f"{name}.{item}", old, new
        else:
            yield name, was, is_now


def _differing(before: RunDocument, after: RunDocument) -> Iterator[tuple[str, Any, Any]]:
    """Items that differ, whatever their names are."""
    for name in dict.fromkeys((*after, *before)):
        was, is_now = before.get(name), after.get(name)
        if was != is_now:
            yield name, was, is_now
