"""Figures as the page shows them in a browser, beside the counts of the rows."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import partial

import pytest

from execstream.streams.topics import COMMANDS
from tests.dashboard import told_rows
from tests.dashboard.counted_rows import Json, Step, Told, Witness
from tests.dashboard.fleet import Figures
from tests.dashboard.page.browser import Tab
from tests.dashboard.registered_figures import Check
from tests.dashboard.told_totals import failures, quantile, windows

BLOCKS = ("block-good", "block-quota", "block-caller", "block-child", "block-left")
SPANS = {  # minutes
    "Now": ("last minute", 1),
    "5 min": ("last 5 minutes", 5),
    "1 h": ("last hour", 60),
    "24 h": ("last 24 hours", 60 * 24),
}
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
OF_HEALTH = {
    "Running": "running",
    "Queued": "queued",
    "In review": "in_review",
    "Incomplete": "incomplete",
    "Running, silent for 1 h": "running_silent_1h",
    "Running, silent for 24 h": "running_silent_24h",
    "Queued, silent for 5 min": "queued_silent_5m",
    "Queued, silent for 1 h": "queued_silent_1h",
    "Running without a start": "running_without_start",
    "Alive with an end": "live_with_end",
    "Completed, 1 h": "completed_1h",
    "Completed, 24 h": "completed_24h",
    "Failed, 1 h": "failed_1h",
    "Failed, 24 h": "failed_24h",
    "Terminated, 24 h": "terminated_24h",
    "Ended per hour": "ended_per_hour",
}
NO_COUNTS = {"Oldest running", "Oldest queued"}  # of Health, beside those
_ALERT = re.compile(r"([\d,]+) of ([\d,]+) steps failed.* within (a minute|\d+ minutes)")
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}  # milliseconds

# Every figure in the rows of a table, as [text, title], by the text of `KEY` and by column.
_ROWS = """Object.fromEntries(
  [...document.querySelectorAll('table[aria-label="TABLE"] tbody tr')].map((row) => [
    row.querySelector('KEY')?.textContent,
    Object.fromEntries([...row.querySelectorAll('td.figure')].map((one) =>
      [one.dataset.label, [one.textContent, one.firstElementChild?.title ?? '']]))]))"""
_FACTS = """Object.fromEntries(
  ['Runs alive', 'Runs that look wrong', 'Runs ended'].flatMap((name) =>
    [...document.querySelectorAll(`section[aria-label="${name}"] dl > div`)].map((fact) =>
      [...fact.children].map((part) => part.textContent))))"""
_COUNTERS = """Object.fromEntries([...document.querySelectorAll('.counters a')].map(
  ({ dataset, title }) => [dataset.status ?? 'All', title]))"""
_STEPS = """Object.fromEntries([...document.querySelectorAll('tr[data-id]')].map(
  (row) => [row.dataset.id, row.querySelector('[data-label=Steps]').textContent]))"""
_ALERTS = """[...document.querySelectorAll('section[aria-label=Open] tbody tr')].map((row) =>
  [row.querySelector('[data-label=Where] a').hash,
   row.querySelector('[data-label=What]').textContent])"""


def _text(selector: str) -> str:
    return f"document.querySelector({selector!r})?.textContent ?? ''"


def _rows(table: str, key: str) -> str:
    return _ROWS.replace("TABLE", table).replace("KEY", key)


@dataclass
class Page:
    """The page in a browser. A figure is read in the view that shows it, which is opened once and
    stays open for as long as that figure is waited for.
    """

    tab: Tab
    url: str

    def figures(self) -> Figures:
        """The views; each is compared with all figures in it."""
        blocks = {name: Check("", partial(self.block, name)) for name in BLOCKS}
        return Figures(
            {name: Check("", getattr(self, name)) for name in ("runs", "health", "topics")},
            {name: Check("", getattr(self, name)) for name in ("alerts", "errors", "blocks")}
            | blocks,
            frozen=("errors",),
        )

    async def open(self) -> None:
        await self.tab.open(f"{self.url}/#/runs")

    async def _view(self, address: str) -> None:
        if await self.tab.run("location.hash") != address:
            await self.tab.run(f"location.hash = {address!r}")

    async def runs(self, it: Witness) -> Told:
        """Runs by status, and the steps of those that are listed."""
        await self._view("#/runs")
        counters, steps = await self.tab.run(f"[{_COUNTERS}, {_STEPS}]")
        runs = await told_rows.steps_of_runs(it)
        found = dict(
            await it.place.db.fetch("select status, count(*) from graph_execution group by 1")
        )
        expected = {"All": number(sum(found.values()))}
        expected |= {status: number(found.get(status, 0)) for status in counters if status != "All"}
        return (
            (len(counters), len(steps) > 0, counters, steps),
            (8, True, expected, {run: _steps(*runs.get(run, (0, 0, 0, 0))) for run in steps}),
        )

    async def health(self, it: Witness) -> Told:
        """Runs by state, what is left to be read, and how far it is read."""
        await self._view("#/health")
        facts = await self.tab.run(_FACTS)
        for name in NO_COUNTS:
            facts.pop(name)
        table = (await self.tab.run(_rows("Progress", "td")))["apply"]
        pulse = await self.tab.run(_text("#pulse"))
        verdict, hint = [
            await self.tab.run(_text(f"section .{name}")) for name in ("verdict", "hint")
        ]
        _, counts = await told_rows.diagnostics(it)
        counts["ended_per_hour"] = counts["ended_per_hour"].expected
        _, offsets = await told_rows.progress(it)
        sums = [sum(column) for column in zip(*offsets, strict=True)]
        *outcomes, lag, end = sums[1:]
        read = [len(offsets), end - lag, lag, *outcomes]
        behind = f"{plural(lag, 'command')} taken" if lag else "Every command"
        return (
            {
                "facts": facts,
                "apply": [text for text, _ in table.values()],
                "pulse": pulse.split(" · ")[1:],
                "verdict": verdict.split(" · ")[1:],
                "behind": hint.startswith(behind),
            },
            {
                "facts": {label: number(counts[name]) for label, name in OF_HEALTH.items()},
                "apply": [number(count) for count in read],
                "pulse": ["0 gaps", *([f"{number(lag)} behind"] if lag else [])],
                "verdict": ["0 gaps"],
                "behind": True,
            },
        )

    async def topics(self, it: Witness) -> Told:
        """The records of the commands topic, and its lag."""
        await self._view("#/recovery")
        name = it.place.topic(COMMANDS.name)
        figures = (await self.tab.run(_rows("Topics", "td")))[name]
        shown = "[...document.querySelectorAll('section[aria-label=Topics] tbody tr')].find("
        shown += f"(row) => row.cells[0].textContent === {name!r})"
        lag = await self.tab.run(
            f"{shown}.querySelector('[data-label=\"Lag of readers\"]').textContent"
        )
        boxes = await self.tab.run(
            f"[...{shown}.querySelectorAll('.part')].map(({{title}}) => title)"
        )
        ends, unread = await it.ends(), await told_rows.unread(it)
        return (
            ([text for text, _ in figures.values()], lag, boxes),
            (
                [number(len(ends)), number(sum(ends.values()))],
                f"apply {number(sum(unread.values()))}",
                [
                    f"partition {at}: {plural(unread[at], 'record')} behind of {number(end)}"
                    for at, end in sorted(ends.items())
                ],
            ),
        )

    async def alerts(self, it: Witness) -> Told:
        """The failures that each open alert names, and the number of alerts."""
        await self._view("#/alerts")
        count = await self.tab.run(_text("#nav [data-view=alerts] .count"))
        shown = await self.tab.run(_ALERTS)
        blocks = await it.steps()
        told, rows = [], []
        for address, text in shown:
            failed, ended, span = _ALERT.fullmatch(text).groups()  # type: ignore[union-attr]
            minutes = 1 if span == "a minute" else int(span.split()[0])
            counts, _ = _windows(blocks[address.removeprefix("#/blocks/")], minutes - 1)
            told.append((failed, ended))
            rows.append((number(counts["failed"]), number(counts["ended"])))
        opened = await it.place.db.fetchval("select count(*) from alert where closed_at is null")
        return (count, len(shown) > 0, told), (number(opened), True, rows)

    async def blocks(self, it: Witness) -> Told:
        """The list of blocks."""
        await self._view("#/blocks")
        told = await self.tab.run(_rows("Blocks", "a.name"))
        for row in told.values():
            row |= {label: _milliseconds(row[label][0]) for label in PERCENTILES}
        rows = {}
        for name, steps in (await it.steps()).items():
            if not any(step.is_over for step in steps):
                continue
            hour, before = _windows(steps, 60)
            rates = {title: _rate(_windows(steps, n)[0], of) for title, (of, n) in SPANS.items()}
            rows[name] = rates | {
                "Change": _change(hour, before),
                "Ended": [number(hour["ended"]), ""],
                "By caller": [percent(_share(hour, "caller_failed")), ""],
            }
            rows[name] |= {label: _near(quantile(steps, n)) for label, n in PERCENTILES.items()}
        return told, rows

    async def block(self, name: str, it: Witness) -> Told:
        """A block's windows, its durations, and its errors."""
        await self._view(f"#/blocks/{name}")
        told = await self.tab.run(_rows("Failure rate by window", "th"))
        hint = await self.tab.run(_text("section[aria-label='Failure rate'] .hint"))
        steps = (await it.steps())[name]
        rows = {span: _row(span, *_windows(steps, n)) for span, n in SPANS.values()}
        took = re.findall(r"([\d.]+ m?s) \((p\d\d)\)", hint)
        ran = {label: _near(quantile(steps, n)) for label, n in PERCENTILES.items()}
        return (
            (told, {label: _milliseconds(text) for text, label in took}, await self._errors()),
            (rows, {label: n for label, n in ran.items() if n is not None}, failures(steps)),
        )

    async def errors(self, it: Witness) -> Told:
        await self._view("#/blocks/block-quota")
        return await self._errors(), failures((await it.steps())["block-quota"])

    async def _errors(self) -> int:
        cells = 'section[aria-label^="What goes wrong"] td[data-label=Count]'
        counts = await self.tab.run(
            f"[...document.querySelectorAll('{cells}')].map((one) => one.textContent)"
        )
        return sum(int(count.replace(",", "")) for count in counts)


# ---- what the page makes of the counts -----------------------------------------------------------


def _windows(steps: list[Step], minutes: int) -> tuple[dict[str, Json], dict[str, Json]]:
    return windows(steps, minutes, datetime.now(UTC).replace(second=0, microsecond=0))


def _share(counts: dict[str, Json], part: str = "failed") -> float | None:
    return 100 * counts[part] / counts["ended"] if counts["ended"] else None


def _rate(counts: dict[str, Json], span: str = "") -> list[str]:
    of = f": {span}" if span else ""
    if not counts["ended"]:
        return ["–", f"nothing ended{of}"]
    failed, ended = number(counts["failed"]), plural(counts["ended"], "step")
    causes = [
        counts["caller_failed"]
        and f"{number(counts['caller_failed'])} by the caller's input or credentials",
        counts["cascaded"]
        and f"beside them {plural(counts['cascaded'], 'step')} ended with their run",
        counts["skewed"] and f"{plural(counts['skewed'], 'step')} left out for a skewed clock",
    ]
    named = "; ".join(cause for cause in causes if cause)
    return [percent(_share(counts)), f"{failed} of {ended} failed{of}{named and f' ({named})'}"]


def _change(now: dict[str, Json], before: dict[str, Json]) -> list[str]:
    share, other = _share(now), _share(before)
    if share is None or other is None:
        return ["", ""]
    points = share - other
    if abs(points) < 0.05:
        return ["±0", "as in the window before"]
    text = f"{'+' if points > 0 else '−'}{rounded(abs(points))}"
    return [text, f"percentage points; {percent(other)} in the window before"]


def _row(span: str, now: dict[str, Json], before: dict[str, Json]) -> dict[str, list[str]]:
    counts = {name.capitalize(): now[name] for name in ("failed", "ended", "cascaded", "skewed")}
    return {label: [number(count), ""] for label, count in counts.items()} | {
        "Failure rate": _rate(now, span),
        "Before": _rate(before),
        "Change": _change(now, before),
        "By caller": [percent(_share(now, "caller_failed")), ""],
    }


def _steps(steps: int, _ended: int, failed: int, cascaded: int) -> str:
    parts = [number(steps), failed and f"{number(failed)} failed"]
    return " ".join(part for part in (*parts, cascaded and f"{number(cascaded)} cascaded") if part)


def _milliseconds(text: str) -> float | None:
    parts = re.findall(r"([\d.]+) (ms|s|m|h)\b", text)
    return sum(float(count) * _UNITS[unit] for count, unit in parts) if parts else None


def _near(milliseconds: float | None) -> Json:
    """The tally is right within 2 %, and the page rounds."""
    return None if milliseconds is None else pytest.approx(milliseconds, rel=0.05)


def rounded(value: float) -> str:
    """One decimal, as JavaScript rounds it."""
    return str(Decimal(value).quantize(Decimal("0.1"), ROUND_HALF_UP))


def number(value: float) -> str:
    text = f"{Decimal(rounded(value)):,}"
    return text.removesuffix(".0")


def percent(value: float | None) -> str:
    if value is None:
        return "–"
    if value == 0:
        return "0%"
    if value < 0.1:
        return "<0.1%"
    return f"{rounded(value)}%" if value < 10 else f"{int(value + 0.5)}%"


def plural(count: int, one: str) -> str:
    return f"{number(count)} {one if count == 1 else one + 's'}"
