"""The short form of the trials: each kind of fault, once. `make faults` has the long one."""

from pathlib import Path

import pytest

from execstream.devstack import Stack
from tests.faults.points import LOSSES, Point
from tests.faults.scenarios import everything_once


@pytest.mark.promise
@pytest.mark.slow
@pytest.mark.timeout(400)  # a busy machine takes several times the usual minute
async def test_nothing_is_lost_and_nothing_twice(breakable_stack: Stack, tmp_path: Path) -> None:
    """After all kills and losses under 1,000 commands/s, tables, events and messages are in the end
    those of the reference for the topic of commands.
    """
    outcome = await everything_once(breakable_stack, tmp_path, 1, 1)

    assert not outcome.failures
    assert outcome.findings.is_clean, "\n".join(outcome.findings.samples)
    assert outcome.consumed >= outcome.acknowledged > 0
    deaths = (Point.COMMITTED, Point.REPUBLISHING, Point.PUBLISHING)
    for point in (*deaths, *LOSSES, "republished", "seek_back"):
        assert outcome.said[point] > 0
