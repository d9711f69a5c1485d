"""The transition table of the contract, written out a second time, pair by pair."""

import itertools

import pytest

from execstream.streams.statuses import (
    ALLOWED_FROM,
    ENDED,
    FINAL,
    ExecutionStatus,
    allowed_from,
    is_allowed,
)

# The rows of the contract: destination ← sources.
CONTRACT = {
    "QUEUED": "INCOMPLETE TERMINATED REVIEW",
    "RUNNING": "INCOMPLETE QUEUED TERMINATED REVIEW",
    "COMPLETED": "RUNNING",
    "FAILED": "INCOMPLETE QUEUED RUNNING REVIEW",
    "TERMINATED": "INCOMPLETE QUEUED RUNNING REVIEW",
    "REVIEW": "RUNNING",
    "INCOMPLETE": "",
}


@pytest.mark.parametrize(("was", "to"), list(itertools.product(ExecutionStatus, ExecutionStatus)))
def test_each_of_the_49_moves(was: ExecutionStatus, to: ExecutionStatus) -> None:
    """It is allowed exactly when the contract's table has it."""
    sources = CONTRACT[to].split()
    assert is_allowed(was, to) == (was in sources)
    assert allowed_from(to) == [status for status in ExecutionStatus if status in sources]


def test_what_follows_from_the_table() -> None:
    """COMPLETED and FAILED are final, TERMINATED can be resumed, REVIEW is no end, and nothing
    leads to itself."""
    s = ExecutionStatus
    assert {s.COMPLETED, s.FAILED} == FINAL
    assert {s.COMPLETED, s.FAILED, s.TERMINATED} == ENDED
    assert not any(is_allowed(status, status) for status in s)
    assert set(ALLOWED_FROM) == set(s) - {s.INCOMPLETE}
