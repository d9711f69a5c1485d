"""Errors hang on two bases: waiting may cure it, or nothing will.

What is expected (a refusal, a duplicate, a dead letter) is an answer, not an error: `outcomes`.
"""


class ExecstreamError(Exception):
    """Says in a sentence what is wrong, with the offending value and the way out."""


class Transient(ExecstreamError):
    """Trying again later may work."""


class Fatal(ExecstreamError):
    """Trying again will not help; somebody has to change something."""
