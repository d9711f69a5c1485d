"""Errors of simulated steps: texts as in the field, so that they are grouped like real ones."""

import pytest

from execstream.streams.totals.error_classes import BUILT_IN, ErrorClass, mask
from execstream.workload.simulation.draws import Draws
from execstream.workload.simulation.failures import step_error

MANY = 2_000
NOT_OF_STEPS = {ErrorClass.OTHER, ErrorClass.CHILD}


@pytest.mark.parametrize("block_type", ["AI", "STANDARD", "MCP_TOOL"])
def test_errors_group(block_type: str) -> None:
    """Nearly every error has another text, and there are five fingerprints, one of each class."""
    draws = Draws(1, 1)
    errors = {step_error(draws, block_type) for _ in range(MANY)}

    assert len(errors) > MANY * 0.9
    assert {BUILT_IN.classify(error) for error in errors} == set(ErrorClass) - NOT_OF_STEPS
    assert len({mask(error) for error in errors}) == 5
