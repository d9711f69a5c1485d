"""The wheel with one extra each: its part works, and in `local` everything does."""

import json
from collections.abc import Callable

import pytest

from tests.install.conftest import Built
from tests.install.environments import Environment
from tests.install.test_bare import NEEDS

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]


@pytest.mark.parametrize("extra", ["server", "worker"])
def test_an_extra_is_enough(
    environment: Callable[[str], Environment], built: Built, extra: str
) -> None:
    """Its commands answer, so all that they import is there."""
    made = environment(extra)
    made.install(f"{built.wheel}[{extra}]")
    for command in NEEDS[extra]:
        told = made.execstream(command, "--help")
        assert (told.code, told.err) == (0, "")
    if extra == "worker":
        imported = made.evaluate("import execstream.agents.worker")
        assert (imported.code, imported.err) == (0, "")


def test_demo(environment: Callable[[str], Environment], built: Built) -> None:
    """Runs in an empty folder: servers, graphs and the page come from packages."""
    made = environment("local")
    made.install(f"{built.wheel}[local]")
    told = made.execstream("demo", "--runs", "3", "--exit", "--json")
    assert told.code == 0, told.err
    receipt = json.loads(told.out)
    assert (receipt["runs"], receipt["lost"], receipt["dead"]) == (3, 0, 0)
    assert {file.name for file in made.home.iterdir()} == {".execstream"}
