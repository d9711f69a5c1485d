"""Live tables of several workers, added up."""

from typing import Any

from execstream.streams.totals.aggregation import Totals
from execstream.streams.totals.live_values import LiveStats, block_value, merged


def told(partition: int, **figures: int) -> dict[str, Any]:
    """A worker's value of a block in a partition of its own."""
    return block_value(f"{partition}|block", LiveStats((5, 0), Totals(**figures), {7: (1, 1)}))


def test_workers_of_two_versions_add_up() -> None:
    """Figures that an older one does not count are 0."""
    new, old = told(0, ended=2, cascaded=3), told(1, ended=4)
    for name in ("cascaded", "caller_failed", "skewed"):
        del old[name]

    [block] = merged([new, old])

    assert (block["ended"], block["cascaded"], block["caller_failed"]) == (6, 3, 0)
    assert [counts[1:] for counts in block["minutes"]] == [[2, 2]]
