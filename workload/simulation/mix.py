"""How many runs and records go another way than straight to COMPLETED."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto


class Fate(Enum):
    """How a run goes; `RESUMED` is TERMINATED on the way, then taken up again."""

    COMPLETED = auto()
    FAILED = auto()
    TERMINATED = auto()
    REVIEW = auto()
    RESUMED = auto()


@dataclass(frozen=True)
class Mix:
    """Shares of runs by their fate, and of records that no careful producer sends.

    `failures` is the share of runs that end FAILED and, drawn apart, of steps that do.
    """

    failures: float = 0.03
    terminated: float = 0.01
    review: float = 0.005
    resumed: float = 0.005
    duplicates: float = 0.0
    illegal: float = 0.0
    malformed: float = 0.0

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
        """Whether bad records are among the good ones."""
        return any((self.duplicates, self.illegal, self.malformed))
