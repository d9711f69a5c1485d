"""Fuzz the path of commands: `python -m tests.fuzz [MINUTES] [SEED]`.

Chapters of records, each with a seed of its own, until the time is over or one fails. The records
of a failure are cut down and written to `tests/fuzz/failures`, where a test takes them from.
"""

import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from tests.fuzz import corpus
from tests.fuzz.path import fails, follow
from tests.hostile_commands import Record, lives, records

CHAPTER = 3_000  # records
REPORT_EVERY = 10.0  # seconds

console = Console(soft_wrap=True, highlight=False, markup=False)


def main(minutes: float, seed: int) -> int:
    """Return 1 when a chapter fails."""
    begun = reported = time.monotonic()
    outcomes = Counter[str]()
    while (now := time.monotonic()) - begun < minutes * 60:
        some = list((records if seed % 5 == 0 else lives)(seed, CHAPTER))
        try:
            outcomes += follow(some).outcomes
        except Exception:  # noqa: BLE001 - any failure is a finding
            console.print(traceback.format_exc())
            _keep(seed, some)
            return 1
        if now - reported > REPORT_EVERY:
            reported = now
            console.print(f"{now - begun:,.0f} s, up to seed {seed}: {_text(outcomes)}")
        seed += 1
    console.print(f"{_text(outcomes)}; no failure up to seed {seed - 1}")
    return 0


def _keep(seed: int, failing: Sequence[Record]) -> None:
    file = corpus.FOLDER / f"seed_{seed}.jsonl"
    corpus.write(file, corpus.shrunk(failing, fails))
    console.print(f"Seed {seed} failed. Its records are in {file}.")


def _text(outcomes: Counter[str]) -> str:
    total = f"{outcomes.total():,} records"
    return ", ".join([total, *(f"{count:,} {kind}" for kind, count in outcomes.most_common())])


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(float(given[0]) if given else 10, int(given[1]) if given[1:] else 1_000_000))
