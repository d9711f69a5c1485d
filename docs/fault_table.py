"""The tables of docs/faults.md, made of the figures that the rounds of fault trials keep."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.results import load

COLUMNS = (
    *("", "fault", "trials", "acknowledged", "lost", "doubled", "differing", "fenced"),
    *("set aside", "recovery, s", "seed", "taken", "load"),
)
ROUNDS = {"faults": "make faults", "faults-long": "make faults-long"}

Row = Mapping[str, Any]


def cells(row: Row) -> list[str]:
    """Return a row of the table."""
    if row["not_run"]:
        empty = [""] * (len(COLUMNS) - 3)
        return [
            row["fault"],
            row["name"],
            f"*not run* of {row['planned']}: {row['not_run']}",
            *empty,
        ]
    return [
        row["fault"],
        "; ".join((row["name"], *row["notes"])),
        _trials(row),
        f"{row['acknowledged']:,}",
        *(f"{row[name]:,}" for name in ("lost", "doubled", "differing", "fenced", "set_aside")),
        " / ".join(map(str, row["recoveries"] or ())),
        str(row["seed"]),
        f"{row['taken']}, {row['version']}",
        row["load"],
    ]


def _trials(row: Row) -> str:
    trials, planned = row["trials"], row["planned"]
    return f"{trials:,} of {planned:,}" if trials < planned else f"{trials:,}"


def round_table(file: str) -> Iterator[str]:
    """Yield the lines of the table of a round."""
    saved = load(file)
    if saved is None:
        yield f"`{ROUNDS[file]}` has not been run yet."
        return
    machine = saved["circumstances"]
    yield (
        f"`{ROUNDS[file]}` on {machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory']}, {machine['system']}, Python {machine['python']}:"
    )
    yield ""
    yield _line(COLUMNS)
    yield _line(["---", "---", *["--:"] * (len(COLUMNS) - 2)])
    for row in saved["figures"]:
        yield _line(cells(row))


def _line(texts: Any) -> str:
    return f"| {' | '.join(texts)} |"
