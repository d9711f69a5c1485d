"""The numbers of runs and records that do not go straight to COMPLETED."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

FIELD_PAYLOAD = 260  # bytes, which makes 471 bytes per command
FIELD_ESCAPES = 0.7  # of payloads, which makes 36 % of commands


class Fate(Enum):
    """The fate of a run; `RESUMED` is TERMINATED on the way, then resumed."""

    COMPLETED = auto()
    FAILED = auto()
    TERMINATED = auto()
    REVIEW = auto()
    RESUMED = auto()


@dataclass(frozen=True)
class Mix:
    """Shares of runs by their fate, and of records that no careful producer sends; payloads.

    `failures` is the share of runs that end FAILED and, drawn apart, of steps that do; `attributed`
    that of runs with attributes. `payload_bytes` fixes the size of every payload. `escapes` is the
    share of payloads with a backslash before `u0000`, which looks like an escaped control character
    and is none.
    """

    failures: float = 0.03
    terminated: float = 0.01
    review: float = 0.005
    resumed: float = 0.005
    attributed: float = 0.5
    duplicates: float = 0.0
    illegal: float = 0.0
    malformed: float = 0.0
    payload_bytes: int | None = None
    escapes: float = 0.0

    @classmethod
    def field(cls) -> "Mix":
        """Commands as producers send them in the field: small, with text that costs to clean."""
        return cls(
            duplicates=0.005,
            illegal=0.004,
            malformed=0.001,
            attributed=0.0,
            payload_bytes=FIELD_PAYLOAD,
            escapes=FIELD_ESCAPES,
        )

    @classmethod
    def dirty(cls) -> "Mix":
        """The mix with bad records that the measurements use."""
        return cls(duplicates=0.01, illegal=0.005, malformed=0.001)

    def fates(self) -> Iterator[tuple[Fate, float]]:
        """The share of every fate but COMPLETED."""
        yield Fate.FAILED, self.failures
        yield Fate.TERMINATED, self.terminated
        yield Fate.REVIEW, self.review
        yield Fate.RESUMED, self.resumed

    @property
    def is_dirty(self) -> bool:
        """Return whether bad records are among the good ones."""
        return any((self.duplicates, self.illegal, self.malformed))
