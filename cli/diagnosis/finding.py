"""The result of a check."""

from enum import StrEnum

import msgspec

CLOCKS_APART = 2.0  # seconds; a larger difference distorts times and lags


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, with a warning for the operator
    FAILED = "failed"  # does not work, or will lose something


class Finding(msgspec.Struct, frozen=True):
    """One check of one part: the finding, and the remedy unless it is ok."""

    part: str
    check: str
    state: State
    found: str
    remedy: str | None = None


class Examined:
    """Makes the findings about one part."""

    def __init__(self, part: str) -> None:
        self._part = part

    def ok(self, check: str, found: str) -> Finding:
        return Finding(self._part, check, State.OK, found)

    def warning(self, check: str, found: str, remedy: str) -> Finding:
        return Finding(self._part, check, State.WARNING, found, remedy)

    def failed(self, check: str, found: str, remedy: str) -> Finding:
        return Finding(self._part, check, State.FAILED, found, remedy)

    def clock(self, theirs: float, before: float, after: float) -> Finding:
        """Check that a clock read between two times of ours agrees with it; Unix seconds."""
        apart = max(before - theirs, theirs - after, 0.0)
        found = f"{apart:.1f} s from this machine's"
        if apart < CLOCKS_APART:
            return self.ok("clock", found)
        return self.failed("clock", found, "Have both machines follow a time server (NTP).")


def sentence(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text or type(error).__name__
