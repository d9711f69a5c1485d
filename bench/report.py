"""The measured parts of docs/performance.md: tables made of `bench/measured`.

`make docs` writes them with the other generated parts; `python -m bench.report` writes the picture.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.picture import picture
from bench.results import load

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "performance.svg"
PROCESSES = ("worker", "apply", "tally", "bridge", "http", "Postgres", "Kafka", "Redis")
NAMES = {
    "everything": "**execstream, everything running**",
    "apply": "execstream, `apply` alone",
    "B4J": "B4J: bare, same journal, rows, events, fence",
    "B4": "B4: bare, small schema",
    "B2": "B2: Quix Streams, batching sink, small schema",
    "B1": "B1: stock Faust agent, a transaction an event",
    "B0/1": "B0: a transaction a call, 1 caller",
    "B0/4": "B0: 4 callers",
    "B0/8": "B0: 8 callers",
    "B0/16": "B0: 16 callers",
}
DAY = 86_400  # seconds
COMMANDS = 1_000_000_000  # a day, of the sizing
PEAK = 2  # times the average
REPLICAS = 3
FLAT = 0.1  # share by which a series may differ from its first point
UTILISATION = 0.6  # of a core, so that a peak does not queue

Round = dict[str, Any]


def spread(rounds: list[Round], field: str = "rate") -> tuple[float, float, float]:
    """Median, least and most of a field."""
    values = [one[field] for one in rounds]
    return statistics.median(values), min(values), max(values)


def cpu(rounds: list[Round], process: str) -> float:
    """Median µs of CPU a command; 0 of a process that was not there."""
    return float(statistics.median(one["cpu"].get(process, 0) for one in rounds))


def total_cpu(rounds: list[Round]) -> tuple[float, float, float]:
    """Median, least and most µs of CPU a command over all processes."""
    values = [sum(one["cpu"].values()) for one in rounds]
    return statistics.median(values), min(values), max(values)


def compared() -> Any | None:
    """The saved results of `python -m bench.compare`."""
    return load("compare")


def comparison_table() -> Iterator[str]:
    """Rates and CPU of all contenders."""
    saved = compared()
    if saved is None or "everything" not in saved["figures"]["rounds"]:
        yield "Not measured yet: `make bench`."
        return
    found, rounds = saved["figures"], saved["figures"]["rounds"]
    yield circumstances(found["begun"]) + f" Seed {found['seed']}, mix `field`."
    yield ""
    yield _row("", "commands/s, median (min–max)", "rounds", "everything is", "µs of CPU a command")
    yield _row("---", "--:", "--:", "--:", "--:")
    ours = spread(rounds["everything"])[0]
    for name, title in NAMES.items():
        if some := rounds.get(name):
            rate, least, most = spread(some)
            spent, low, high = total_cpu(some)
            yield _row(
                title,
                f"{rate:,.0f} ({least:,.0f}–{most:,.0f})",
                str(len(some)),
                f"{ours / rate:.2f} ×",
                f"{spent:.0f} ({low:.0f}–{high:.0f})",
            )
    for name, reason in found["failed"].items():
        yield _row(NAMES.get(name, name), f"no figure: {reason}", "", "", "")
    yield ""
    yield from _cpu_table(rounds)


def _cpu_table(rounds: dict[str, list[Round]]) -> Iterator[str]:
    yield _row("µs of CPU a command, medians", *(f"`{name}`" for name in PROCESSES))
    yield _row("---", *["--:"] * len(PROCESSES))
    for name, title in NAMES.items():
        if some := rounds.get(name):
            spent = (cpu(some, process) for process in PROCESSES)
            yield _row(title, *(f"{one:.1f}" if one else "" for one in spent))


def aims_table() -> Iterator[str]:
    """The aims, and the figures reached."""
    saved = compared()
    rounds = saved["figures"]["rounds"] if saved else {}
    if not {"everything", "apply", "B4J"} <= rounds.keys():
        yield "Not measured yet: `make bench`."
        return
    rate = {name: spread(some)[0] for name, some in rounds.items()}
    calls = [rate[name] for name in rate if name.startswith("B0/")]
    yield _row("aim", "measured", "met")
    yield _row("---", "--:", "---")
    yield _aim("everything running ≥ 20,000 commands/s", rate["everything"], 20_000, ",.0f")
    spent = total_cpu(rounds["everything"])[0]
    yield _row("all processes ≤ 100 µs a command", f"{spent:.0f}", _met(spent <= 100))
    if calls:
        yield _aim("everything running ≥ 8 × the best B0", rate["everything"] / max(calls), 8)
    yield _aim("`apply` alone ≥ 0.8 × B4J", rate["apply"] / rate["B4J"], 0.8, ".2f")
    memory = max(m for one in rounds["everything"] for m in one["memory"].values())
    yield _row("memory of a worker ≤ 400 MB at most", f"{memory} MB", _met(memory <= 400))
    for figures in saved["figures"]["latency"] if saved else ():
        limits = {1_000: (10, 50), 2_000: (20, 100)}[int(figures["rate"])]
        met = figures["p50"] <= limits[0] and figures["p99"] <= limits[1]
        aim = f"p50 ≤ {limits[0]}, p99 ≤ {limits[1]} ms at {figures['rate']:,.0f}/s"
        yield _row(aim, f"{figures['p50']:.1f}, {figures['p99']:.1f}", _met(met))


def _aim(name: str, found: float, least: float, form: str = ".1f") -> str:
    return _row(name, format(found, form), _met(found >= least))


def _met(holds: object) -> str:
    return "yes" if holds else "no"


def latency_table() -> Iterator[str]:
    """Latency with everything running."""
    saved = compared()
    if saved is None or not saved["figures"]["latency"]:
        yield "Not measured yet: `make bench`."
        return
    yield _row("commands/s, milliseconds", "p50", "p95", "p99", "most", "load")
    yield _row("---", *["--:"] * 5)
    for one in saved["figures"]["latency"]:
        for goal, prefix in (("the row", ""), ("Redis", "redis_")):
            names = (f"{prefix}{name}" for name in ("p50", "p95", "p99", "max"))
            figures = (f"{one[name]:.1f}" for name in names if name in one)
            yield _row(f"{one['rate']:,.0f}, to {goal}", *figures, f"{one['load']:.1f}")


def sizing() -> Iterator[str]:
    """Machines for a billion commands a day, from the measured cost of one."""
    saved = compared()
    rounds = saved["figures"]["rounds"].get("everything") if saved else None
    if not rounds:
        yield "Not measured yet: `make bench`."
        return
    average = COMMANDS / DAY
    yield (
        f"{COMMANDS:,} commands a day ÷ {DAY:,} s = {average:,.0f} commands/s on average, and "
        f"× {PEAK} = {average * PEAK:,.0f} at the peak. A core counts as {UTILISATION:.0%} of one."
    )
    yield ""
    yield _row("process", "µs a command", "× commands/s at the peak", "cores")
    yield _row("---", "--:", "--:", "--:")
    sums = 0.0
    for process in PROCESSES:
        if spent := cpu(rounds, process):
            cores = spent * average * PEAK / 1e6
            sums += cores / UTILISATION
            yield _row(f"`{process}`", f"{spent:.1f}", f"{cores:.2f}", f"{cores / UTILISATION:.1f}")
    yield _row("all", "", "", f"**{sums:.1f}**")
    yield ""
    yield _row("bytes", "a command", f"a day, × {COMMANDS:,}")
    yield _row("---", "--:", "--:")
    for name, field, factor in (
        (f"Kafka: commands and events, × {REPLICAS} replicas", "kafka", REPLICAS),
        ("Postgres: tables and indexes", "stored", 1),
        ("Postgres: WAL", "wal", 1),
    ):
        one = statistics.median(some[field] for some in rounds)
        gigabytes = one * factor * COMMANDS / 1e9
        yield _row(name, f"{one:,.0f}", f"{gigabytes:,.0f} GB")
    rows = statistics.median(some["rows"] for some in rounds)
    yield _row("Postgres: rows", f"{rows:.2f}", f"{rows * COMMANDS / 1e9:.2f} billion")


def growth_table() -> Iterator[str]:
    """CPU a command as runs, tables, partitions and payloads grow."""
    saved = load("growth")
    if saved is None:
        yield "Not measured yet: `python -m bench.growth --save`."
        return
    yield circumstances(saved["circumstances"])
    yield ""
    columns = ("decode", "load", "fold", "commit", "client", "backend", "wal")
    yield _row("what grows", "", *(f"{name}" for name in columns), "client + backend, relative")
    yield _row("---", "--:", *["--:"] * len(columns), "--:")
    verdicts = []
    for series, points in saved["figures"].items():
        sums = [point["us"]["client"] + point["us"]["backend"] for point in points]
        relative = [one / sums[0] for one in sums]
        for point, share in zip(points, relative, strict=True):
            cells = (f"{point['us'].get(name, 0):.1f}" for name in columns)
            yield _row(series, f"{point['at']:,}", *cells, f"{share:.2f}")
        verdicts.append(_verdict(series, points, sums))
    yield ""
    yield from verdicts


def _verdict(series: str, points: list[dict[str, Any]], sums: list[float]) -> str:
    """Return whether a series is flat; for payloads, its slope."""
    if series == "bytes of a payload":
        slope = (sums[-1] - sums[0]) / (points[-1]["at"] - points[0]["at"]) * 1000
        return (
            f"* {series}: {slope:.1f} µs for each 1,000 bytes more, of text that compresses well."
        )
    least, most = min(sums) / sums[0], max(sums) / sums[0]
    flat = "flat" if least >= 1 - FLAT and most <= 1 + FLAT else "not flat"
    return f"* {series}: {least:.2f} to {most:.2f} of the first, {flat} within {FLAT:.0%}."


def readers_table() -> Iterator[str]:
    """The cost of reading a record with each client of Kafka."""
    saved = load("readers")
    if saved is None:
        yield "Not measured yet: `python -m bench.readers --save`."
        return
    yield circumstances(saved["circumstances"])
    yield ""
    yield _row(
        *("reader", "µs of CPU a record, median (min–max)", "records/s"),
        *("records of a packed batch of 300 MB", "memory with it, MB"),
    )
    yield _row("---", *["--:"] * 4)
    for reader, some in saved["figures"].items():
        spent, rate = [one["us"] for one in some], [one["rate"] for one in some]
        cost = f"{statistics.median(spent):.2f} ({min(spent):.2f}–{max(spent):.2f})"
        packed = (f"{some[0][name]:,}" for name in ("packed_records", "packed_mb"))
        yield _row(reader, cost, f"{statistics.median(rate):,.0f}", *packed)


def replay_table() -> Iterator[str]:
    """The rate of a rebuild from the topics."""
    saved = load("replay")
    if saved is None:
        yield "Not measured yet: `python -m bench.replay --save`."
        return
    yield circumstances(saved["circumstances"])
    yield ""
    yield _row("", "commands/s", "aim", "met")
    yield _row("---", "--:", "--:", "---")
    for name, least in (("live", None), ("beside", None), ("alone", 50_000)):
        if figures := saved["figures"].get(name):
            rate = figures["commands_per_second"]
            aim = (f"≥ {least:,}", _met(rate >= least)) if least else ("", "")
            yield _row(name, f"{rate:,.0f}", *aim)


def idle_table() -> Iterator[str]:
    """The cost of all processes while no command comes."""
    saved = load("idle")
    if saved is None:
        yield "Not measured yet: `python -m bench.idle --save`."
        return
    yield circumstances(saved["circumstances"])
    yield ""
    yield _row("process", "% of a core while idle", "memory, MB")
    yield _row("---", "--:", "--:")
    shares = saved["figures"]["percent"]
    for name, share in shares.items():
        yield _row(f"`{name}`", f"{share:.2f}", f"{saved['figures']['memory'].get(name, '')}")
    ours = sum([share for name, share in shares.items() if name in saved["figures"]["memory"]])
    yield _row(f"ours together, aim ≤ 4: {_met(ours <= 4)}", f"{ours:.2f}", "")


def circumstances(found: dict[str, str]) -> str:
    """A sentence about machine, version and load."""
    return (
        f"Taken {found['taken']} with {found['version']} on {found['cores']} cores of "
        f"{found['processor']}, {found['memory']}, {found['system']}, Python {found['python']}; "
        f"load average before it {found['load']}."
    )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def bars() -> tuple[list[tuple[str, float, float, float]], list[tuple[str, dict[str, float]]]]:
    """Rates and CPU by contender, for the picture."""
    saved = compared()
    rounds = saved["figures"]["rounds"] if saved else {}
    names = [name for name in NAMES if name in rounds]
    rates = [(name, *spread(rounds[name])) for name in names]
    spent = [(name, {p: cpu(rounds[name], p) for p in PROCESSES}) for name in names]
    return rates, spent


def main() -> None:
    saved = compared()
    latency = saved["figures"]["latency"] if saved else []
    PICTURE.write_text(picture(*bars(), latency), encoding="utf-8")


if __name__ == "__main__":
    main()
