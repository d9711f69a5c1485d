"""Changes of a run: names of values are arbitrary."""

from typing import Any

from execstream.recovery.run_diff import Change, differences


def run(**fields: Any) -> dict[str, Any]:
    return {"node_executions": [], **fields}


def test_values_named_like_fields() -> None:
    """Inputs that are named like parts of a run are values like others."""
    before = run(inputs={"stats": 1, "inputs": {"a": 1}, "same": 0})
    after = run(inputs={"stats": 2, "inputs": {"a": 2}, "same": 0})
    assert differences(before, after) == [
        Change(None, None, "inputs.stats", 1, 2),
        Change(None, None, "inputs.inputs", {"a": 1}, {"a": 2}),
    ]
