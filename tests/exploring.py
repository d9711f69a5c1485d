"""The number of examples of hypothesis: the same short way in every run of the tests, or a long
one.

`HYPOTHESIS_PROFILE=long` tries many more examples, other ones each time, and makes a failing one
small, which takes minutes.
"""

import os

from hypothesis import HealthCheck, Phase, settings

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def exploring(short: int, long: int) -> settings:
    """Decorates a test that tries so many examples."""
    return settings(
        max_examples=long if IS_LONG else short,
        phases=[Phase.generate, Phase.shrink] if IS_LONG else [Phase.generate],
        derandomize=not IS_LONG,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
