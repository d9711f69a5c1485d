"""`execstream export`: all data of some runs in one file to pass on, or tables for analytics."""

from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from cyclopts import App, Parameter

from execstream.cli.acts import record, record_where_possible
from execstream.cli.common import Json, print_json, start, table
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import err, out
from execstream.config.process_lifetime import stop_signals
from execstream.recovery.bundles.bundles import Export, export_runs, write_bundle
from execstream.recovery.bundles.lines import CommandLine, EntryLine, RefusalLine
from execstream.recovery.bundles.redaction import Redaction
from execstream.recovery.bundles.secrets import PATTERNS
from execstream.storage.access.audit_log import Act
from execstream.streams.errors import Fatal

_Strings = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]
_To = Annotated[
    Path, Parameter(name="--to", help="The folder; it is made. One process at a time writes to it.")
]
_Format = Annotated[Literal["parquet"], Parameter(name="--format", help="Of the files.")]
_Follow = Annotated[
    bool,
    Parameter(
        negative="", help="Go on until Ctrl-C or SIGTERM: each row is in a file a minute later."
    ),
]

export = App(name="export", help="Export runs to a bundle file, or tables to Parquet files by day.")


class NoAnalytics(Fatal):
    """The extra is missing."""


@export.default
async def bundle(
    *,
    run: Annotated[list[UUID], Parameter(negative="", consume_multiple=True)],
    out_: Annotated[Path, Parameter(name="--out")],
    redact: _Strings = None,
    plain: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Take the commands, the journal and the catalogue of runs out into a bundle.

    Values below keys like *password*, *token* or *credential* are redacted in any case style, and
    so are pairs of such a name and a value, and tokens and passwords in texts. Their paths are
    printed.
    `execstream replay BUNDLE` looks at it elsewhere.

    Parameters
    ----------
    run
        The runs.
    out_
        The file to write, such as incident.zst.
    redact
        Further patterns of keys, such as *email*.
    plain
        Redact only values below keys that --redact names.
    dry_run
        Only show the values to be redacted.
    """
    settings = start()
    patterns = [*(() if plain else PATTERNS), *(redact or ())]
    redaction = Redaction(patterns, looks_at_values=not plain)
    with counted(quiet=json) as report_progress:
        exported = await export_runs(settings, run, redaction, report_progress)
    size = None if dry_run else write_bundle(exported.lines, out_)
    if not dry_run:
        await record(settings, *(Act("export", str(one), "written") for one in run))
    if exported.commands_gone:
        err.print("Retention of the topic took the first commands: the journal has their effects.")
    if json:
        document = {"runs": exported.runs, **_counts(exported), "redacted": dict(redaction.found)}
        print_json(document | {"bytes": size, "commands_gone": exported.commands_gone})
    else:
        _print(exported, redaction, out_, size)


@export.command
async def events(
    *, to: _To, format_: _Format = "parquet", follow: _Follow = False, json: Json = False
) -> int:
    """Export every event, once, by the day of its time.

    The same command continues behind the last row, also after a kill.
    """
    return await _export_table("events", to, format_, follow=follow, json=json)


@export.command
async def runs(
    *, to: _To, format_: _Format = "parquet", follow: _Follow = False, json: Json = False
) -> int:
    """Export a row for each end of a run, with seconds, cost and error.

    The same command continues behind the last row, also after a kill.
    """
    return await _export_table("runs", to, format_, follow=follow, json=json)


@export.command
async def steps(
    *, to: _To, format_: _Format = "parquet", follow: _Follow = False, json: Json = False
) -> int:
    """Export a row for each end of a step, with seconds, cost and error.

    The same command continues behind the last row, also after a kill.
    """
    return await _export_table("steps", to, format_, follow=follow, json=json)


async def _export_table(kind: str, to: Path, format_: str, *, follow: bool, json: bool) -> int:
    try:
        from execstream.recovery.parquet.exporting import (  # noqa: PLC0415 - of an extra
            export_table,
        )
        from execstream.recovery.parquet.rows import Kind  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError as missing:
        if missing.name != "pyarrow":
            raise
        raise NoAnalytics(
            f"--format {format_} needs the extra 'analytics': pip install 'execstream[analytics]'"
        ) from None
    settings, stop = start(), stop_signals()
    with counted(quiet=json or follow) as report_progress:
        exported = await export_table(
            settings, Kind(kind), to, report_progress, follow=follow, stop=stop
        )
    act = Act(f"export.{kind}", str(to), f"{exported.rows} rows")
    await record_where_possible(settings, act)
    if json:
        print_json({"kind": kind, "folder": str(to / kind), **vars(exported)})
    else:
        if exported.left:
            err.print(f"{exported.left:,} records did not come: run the same command again.")
        sizes = f"{exported.rows:,} rows, {exported.files:,} files, {exported.bytes:,} bytes"
        out.print(f"{kind}: {sizes} added to {to / kind}.", soft_wrap=True)
    return stop.result() if stop.done() else int(exported.left > 0)


def _counts(exported: Export) -> dict[str, int]:
    return {
        "commands": exported.count(CommandLine),
        "entries": exported.count(EntryLine),
        "refusals": exported.count(RefusalLine),
    }


def _print(exported: Export, redaction: Redaction, file: Path, size: int | None) -> None:
    if redaction.found:
        rows = table("redacted", "values")
        for path, count in sorted(redaction.found.items()):
            rows.add_row(path, f"{count:,}")
        out.print(rows)
    counts = ", ".join(f"{count:,} {name}" for name, count in _counts(exported).items())
    where = "nothing written" if size is None else f"{size:,} bytes in {file}"
    out.print(f"{exported.runs:,} runs, {counts}: {where}.", soft_wrap=True)
