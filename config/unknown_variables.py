"""Variables of the environment that look like settings and are none."""

import difflib
import os

from execstream.config.settings import (
    MCP_TOKEN,
    PREFIX,
    PROBE_SOCKET,
    SUPERVISOR,
    Settings,
    variable,
)

# Variables with the prefix that are not settings, and the prefix of those of tests.
_OTHERS = frozenset((SUPERVISOR, PROBE_SOCKET, MCP_TOKEN, f"{PREFIX}IMAGE"))
_OF_TESTS = f"{PREFIX}TEST_"


def unknown_variables() -> list[str]:
    """Return a sentence for each variable with our prefix that is not a setting.

    A child of `up` returns none, since its parent has the same variables.
    """
    if SUPERVISOR in os.environ:
        return []
    known = {variable(field) for field in Settings.model_fields} | _OTHERS
    return [
        f"{name} is no setting{_suggestion(name, known - _OTHERS)}."
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known and not name.startswith(_OF_TESTS)
    ]


def _suggestion(name: str, known: set[str]) -> str:
    """The name that is nearest; the prefix, which all of them share, does not count."""
    words = sorted(one.removeprefix(PREFIX) for one in known)
    nearest = difflib.get_close_matches(name.removeprefix(PREFIX), words, n=1)
    return f"; the nearest one is {PREFIX}{nearest[0]}" if nearest else ""
