"""Figures of steps by block, counted from the events of the reference (contract §5).

A cascaded step is known by its command, which moved the run, and not by its error.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from execstream.workload.reference.exact_reading import Json

_ENDS = ("COMPLETED", "FAILED")


def block_figures(events: Iterable[Mapping[str, Json]]) -> dict[str, Counter[str]]:
    """Count by block: `added`, `added_failed`, `ended`, `failed`, `terminated`, `cascaded` and
    `skewed`.
    """
    figures: dict[str, Counter[str]] = {}
    run_moves: set[tuple[str, str]] = set()
    for event in events:
        command = (event.get("graph_exec_id", ""), event["command_id"])
        if event["type"] == "graph.updated":
            run_moves.add(command)
        elif event["type"] in ("node.added", "node.updated"):
            counted = figures.setdefault(event["block_id"], Counter())
            counted.update(_counts(event, is_cascaded=command in run_moves))
    return figures


def _counts(event: Mapping[str, Json], *, is_cascaded: bool) -> Iterable[str]:
    status = event.get("status")
    if event["type"] == "node.added":
        return ("added",)
    if status == "TERMINATED":
        return ("terminated",)
    if status not in _ENDS:
        return ()
    if event.get("skewed"):
        return ("skewed", *(("added_failed",) if status == "FAILED" else ()))
    if is_cascaded:
        return ("added_failed", "cascaded")
    has_child = bool((event.get("stats") or {}).get("child_graph_exec_id"))
    failed = ("added_failed",) if has_child else ("added_failed", "failed")
    return ("ended", *(failed if status == "FAILED" else ()))
