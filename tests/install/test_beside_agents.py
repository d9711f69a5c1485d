"""Beside a package with the import name `agents`, in either order of installation."""

from collections.abc import Callable

import pytest

from tests.install.conftest import Built
from tests.install.environments import Environment

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]

THEIRS = "openai-agents"


@pytest.fixture(scope="module")
def shared(environment: Callable[[str], Environment]) -> Environment:
    """An environment with the other package alone."""
    made = environment("shared")
    made.install(THEIRS)
    return made


def test_installed_after_theirs(shared: Environment, built: Built) -> None:
    """Both work, and theirs goes on to work when ours is gone."""
    shared.install(str(built.wheel))
    _both_work(shared)
    shared.uninstall("execstream")
    _theirs_works(shared)


def test_installed_before_theirs(shared: Environment, built: Built) -> None:
    """The same in the other order."""
    shared.uninstall(THEIRS)
    shared.install(str(built.wheel))
    shared.install(THEIRS)
    _both_work(shared)
    shared.uninstall("execstream")
    _theirs_works(shared)


def _both_work(shared: Environment) -> None:
    _theirs_works(shared)
    ours = shared.evaluate("from execstream import ExecutionClient, models, reads")
    assert ours.code == 0, ours.err
    general = shared.evaluate("import streams")
    assert "No module named 'streams'" in general.err


def _theirs_works(shared: Environment) -> None:
    told = shared.evaluate("from agents import Agent; print(Agent.__module__)")
    assert (told.code, told.out) == (0, "agents.agent\n"), told.err
