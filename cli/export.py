"""`execstream export`: all data of some runs, in one file to pass on."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter

from execstream.cli.acts import record
from execstream.cli.common import Json, print_json, start, table
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import err, out
from execstream.recovery.bundles.bundles import Export, export_runs, write_bundle
from execstream.recovery.bundles.lines import CommandLine, EntryLine, RefusalLine
from execstream.recovery.bundles.redaction import Redaction
from execstream.recovery.bundles.secrets import PATTERNS
from execstream.storage.access.audit_log import Act

_Strings = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]


async def export(
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
