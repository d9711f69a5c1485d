"""The figures of `bench/apply_cpu.py`: costs, ratios of pairs, and their uncertainty."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.95
COLUMNS = ("decode", "load", "fold", "commit", "client", "backend")

Batches = list[dict[str, float]]  # CPU seconds by column, batch by batch


@dataclass(frozen=True)
class Pair:
    """Both sides, measured in turn; without the batches that do not count."""

    old: Batches
    new: Batches
    load: float

    def ratio(self, column: str) -> float:
        """New as a multiple of old, of all batches together."""
        return _total(self.new, column) / _total(self.old, column)

    def typical(self, column: str) -> float:
        """New as a multiple of old in the median batch, which a burst of load hardly moves."""
        both = zip(self.old, self.new, strict=True)
        return statistics.median(new[column] / old[column] for old, new in both)

    def normalised(self) -> float:
        """The client's ratio as a multiple of the backend's."""
        return self.ratio("client") / self.ratio("backend")


def _total(batches: Batches, column: str) -> float:
    return sum(batch[column] for batch in batches)


@dataclass(frozen=True)
class Estimate:
    """A median, and an interval that has the true one in it with `confidence`."""

    median: float
    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"{self.median:9.3f}  {self.low:.3f} … {self.high:.3f} ({self.confidence:.1%})"


def estimate(values: Sequence[float]) -> Estimate:
    """The interval from the k-th smallest to the k-th largest value, which assumes no distribution
    (it is the sign test's). k is the largest one that has CONFIDENCE, or 1 if none has."""
    ordered, count = sorted(values), len(values)
    left_out, missed = 0, 2 * 0.5**count
    while (more := 2 * math.comb(count, left_out + 1) * 0.5**count) + missed <= 1 - CONFIDENCE:
        left_out, missed = left_out + 1, missed + more
    low, high = ordered[left_out], ordered[count - 1 - left_out]
    return Estimate(statistics.median(ordered), low, high, 1 - missed)


def report(pairs: Sequence[Pair], commands: int) -> dict[str, Any]:
    """Microseconds per command (medians of the pairs), and the ratios new/old."""

    def cost(batches: list[Batches]) -> dict[str, float]:
        totals = {name: [_total(one, name) for one in batches] for name in COLUMNS}
        return {name: statistics.median(of) / commands * 1e6 for name, of in totals.items()}

    return {
        "old": cost([pair.old for pair in pairs]),
        "new": cost([pair.new for pair in pairs]),
        "ratio": {name: estimate([pair.ratio(name) for pair in pairs]) for name in COLUMNS},
        "typical": {name: estimate([pair.typical(name) for pair in pairs]) for name in COLUMNS},
        "normalised": estimate([pair.normalised() for pair in pairs]),
        "load": [round(pair.load, 1) for pair in pairs],
    }


def print_pair(number: int, pair: Pair) -> None:
    about = {"client": pair.ratio("client"), "backend": pair.ratio("backend")}
    about |= {"normalised": pair.normalised(), "typical": pair.typical("client")}
    rounded = {name: round(ratio, 3) for name, ratio in about.items()}
    print(json.dumps({"pair": number, **rounded, "load": round(pair.load, 1)}), flush=True)


def print_report(found: dict[str, Any]) -> None:
    ratio, typical = found["ratio"], found["typical"]
    print(f"\n{'µs of CPU per command':26}" + "".join(f"{name:>9}" for name in COLUMNS))
    for side in ("old", "new"):
        figures = "".join(f"{found[side][name]:9.1f}" for name in COLUMNS)
        print(f"{side + ' ' + found[side + '_commit']:26}{figures}")
    for title, ratios in (("new/old", ratio), ("new/old, typical batch", typical)):
        print(f"{title:26}" + "".join(f"{ratios[name].median:9.3f}" for name in COLUMNS))
    print("\nnew/old, median of the pairs and interval")
    print(f"{'client':26}{ratio['client']}")
    print(f"{'client, normalised':26}{found['normalised']}")
    print(f"{'client, typical batch':26}{typical['client']}")
    print(f"{'backend':26}{ratio['backend']}")
    print(f"{'backend, typical batch':26}{typical['backend']}")
    print(f"\nload {min(found['load'])} … {max(found['load'])}")
