"""A guard is left out of a copy of the source, and a test on real servers notices.

These are the quick ones; `python -m tests.model.source_mutants` runs all.
"""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from execstream.devstack import Addresses
from execstream.devstack.addresses import DESCRIPTION
from tests.model.source_mutants import SOURCE_MUTANTS, SourceMutant, failure_of

QUICK = [one for one in SOURCE_MUTANTS if one.killer.startswith("tests/storage/")]


@pytest.fixture
def description(stack: Addresses, tmp_path: Path) -> Path:
    """A file with the addresses of the servers, for another process of tests."""
    path = tmp_path / DESCRIPTION
    names = [one.name for one in fields(Addresses)]
    path.write_text(json.dumps({name: getattr(stack, name) for name in names}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("mutant", QUICK, ids=[one.guard for one in QUICK])
def test_a_mutant_of_the_source_is_noticed(mutant: SourceMutant, description: Path) -> None:
    """The test that it is for fails."""
    assert failure_of(mutant.killer, mutant, description) is not None


@pytest.mark.slow
def test_a_copy_without_a_mutant_passes(description: Path) -> None:
    """So it is the mutant that makes a test fail."""
    assert failure_of(QUICK[0].killer, None, description) is None
