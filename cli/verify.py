"""`execstream verify`: check that stored and published data follow from the journal."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from execstream.cli.acts import record
from execstream.cli.common import Json, print_json, start
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import err, out
from execstream.recovery.archive.archive_checks import ArchiveReport, check_archive
from execstream.recovery.archive.folder import Archive
from execstream.recovery.verify.report import Difference, Report
from execstream.recovery.verify.verify import Asked
from execstream.recovery.verify.verify import verify as run_verify
from execstream.storage.access.audit_log import Act
from execstream.streams.errors import Fatal

SAMPLE = 1_000  # runs
MOST_SHOWN = 50  # differences
_CUT = 60  # characters of a value
_IDS = ("id", "graph_exec_id", "node_exec_id")


class Contradiction(Fatal):
    """The command line asks for two different things."""


async def verify(
    graph_exec_ids: Annotated[list[str] | None, Parameter(name="GRAPH_EXEC_ID")] = None,
    /,
    *,
    runs: PositiveInt | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    mend: Annotated[bool, Parameter(negative="")] = False,
    archive: Annotated[Path | None, Parameter(name="--archive")] = None,
    json: Json = False,
) -> int:
    """Check that stored and published data follow from the journal; exit code 1 when not.

    Without --all: rows of some runs against their journals. With it: all runs, key-values and
    totals, and journal, refusals, dead letters and events against the topics, as far as these
    still reach back.

    Parameters
    ----------
    graph_exec_ids
        Runs to check.
    runs
        Check so many runs chosen by chance; 1,000 by default.
    all_
        Check everything.
    mend
        Rewrite different rows from the journal where possible. Workers may run meanwhile.
    archive
        Check the archive in this folder instead: that its segments are whole and none is missing,
        and that the topics, where they still have its records, have the same.
    """
    if archive is not None:
        if graph_exec_ids or runs is not None or all_ or mend:
            raise Contradiction("--archive checks the archive alone.")
        return await _verify_archive(archive, json=json)
    if sum((bool(graph_exec_ids), runs is not None, all_)) > 1:
        raise Contradiction("Pass ids of runs, a number of runs, or --all.")
    asked = Asked(graph_exec_ids or (), None if all_ else runs or SAMPLE)
    settings = start()
    with counted(quiet=json) as report_progress:
        report = await run_verify(settings, asked, report_progress, repairing=mend)
        if mend and not report.is_good:
            mended, report = report.mended, await run_verify(settings, asked, report_progress)
            report.mended = mended
            await record(settings, Act("verify.mend", "rows", f"{mended} mended"))
    if json:
        print_json(report.as_json())
    else:
        _print(report)
    return 0 if report.is_good else 1


async def _verify_archive(folder: Path, *, json: bool) -> int:
    settings = start()
    with counted(quiet=json) as report_progress:
        report = await check_archive(
            Archive(folder), settings.kafka, settings.topic_prefix, report_progress
        )
    if json:
        print_json({"ok": report.is_good, **vars(report)})
    else:
        _print_archive(report)
    return 0 if report.is_good else 1


def _print_archive(report: ArchiveReport) -> None:
    for topic, parts in report.topics.items():
        for number, (begin, end) in parts.items():
            out.print(f"{topic} {number}: {begin:,} to {end:,}")
    for line in report.left_out:
        out.print(f"left out: {line}", soft_wrap=True)
    for fault in report.faults[:MOST_SHOWN]:
        out.print(fault, soft_wrap=True)
    out.print(
        f"{report.records:,} records in {report.segments:,} segments, {report.compared:,} of which "
        "the topics have, too"
    )
    if report.is_good:
        out.print("ok")
    else:
        err.print(f"{len(report.faults):,} faults.")


def _print(report: Report) -> None:
    figures = dict(report.checked)
    of_runs = figures.pop("of_runs")
    for what, figure in figures.items():
        of_all = f" of {of_runs:,}" if what == "runs" else ""
        out.print(f"{what:<18} {_words(figure)}{of_all}")
    for line in report.left_out:
        out.print(f"left out: {line}", soft_wrap=True)
    if report.mended:
        out.print(f"mended: {report.mended:,}")
    if report.is_good:
        out.print("ok")
        return
    for one in report.differences[:MOST_SHOWN]:
        sides = f"expected {_cut(one.expected)}, found {_cut(one.found)}"
        line = f"{one.kind} {_where(one)}, column {one.field}: {sides}; mend with `{one.mend}`"
        out.print(line, soft_wrap=True)
    err.print(f"{report.found:,} differences.")


def _where(one: Difference) -> str:
    """The name of the row: its run, the `seq` of an entry, a step, a key."""
    ids = {"run": one.graph_exec_id, "step": one.node_exec_id}
    place = {name: value for name, value in ids.items() if value is not None}
    return _words(place | {name: one.place[name] for name in one.place if name not in _IDS})


def _words(figure: object) -> str:
    if isinstance(figure, dict):
        return ", ".join(f"{name} {_words(value)}" for name, value in figure.items())
    return f"{figure:,}" if isinstance(figure, int) else str(figure)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _CUT else f"{text[:_CUT]}…"
