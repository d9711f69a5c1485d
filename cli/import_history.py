"""`execstream import`: bring the history of the original's database here."""

import time
from typing import Annotated

from cyclopts import Parameter

from execstream.cli.acts import record
from execstream.cli.common import Json, print_json, start, table
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import err, out
from execstream.kafka.producer import BulkProducer
from execstream.recovery.history_import.importer import Importer
from execstream.recovery.history_import.receipt import Figures, Receipt
from execstream.recovery.history_import.source_database import opened_source
from execstream.storage.access.audit_log import Act
from execstream.storage.connections import WRITE, connection
from execstream.streams.topics import COMMANDS

Flag = Annotated[bool, Parameter(negative="")]
SHOWN = 20  # rows of each kind


async def import_history(
    *, source: Annotated[str, Parameter(name="--from")], nearest: Flag = False, json: Json = False
) -> int:
    """Import runs, steps, values and key-values of the original's tables as commands, and compare.
    Started again, it continues, and brings what has changed since.

    Parameters
    ----------
    source
        Address of the original's Postgres; its schema is the parameter `schema`, as in Prisma's.
    nearest
        Import rows that the rules do not allow as they are by the nearest legal way.
    """
    settings = start()
    begun = time.monotonic()
    async with (
        opened_source(source) as original,
        connection(settings.postgres, settings.schema_, WRITE) as db,
        BulkProducer(settings.kafka, settings.topic_prefix + COMMANDS.name) as producer,
    ):
        importer = Importer(settings, original, db, producer, is_nearest=nearest)
        with counted(quiet=json) as report_progress:
            try:
                await importer.send_all(report_progress)
            finally:  # Kafka has those that were sent
                act = Act("import", "the original's history", f"{importer.sent} sent")
                await record(settings, act)
            seconds = time.monotonic() - begun
            receipt = await importer.compare_all(report_progress)
    about = {
        "sent": importer.sent,
        "unchanged": importer.unchanged,
        "seconds": round(seconds, 3),
        "commands_per_second": round(importer.sent / seconds),
    }
    if json:
        print_json(about | _document(receipt))
    else:
        _print(about, receipt)
    return 0 if receipt.is_equal else 1


def _document(receipt: Receipt) -> dict[str, object]:
    original, imported = receipt.original, receipt.imported
    return {
        "equal": receipt.is_equal,
        "rows": _pairs(original.rows, imported.rows),
        "statuses": {
            "runs": _pairs(original.run_statuses, imported.run_statuses),
            "steps": _pairs(original.step_statuses, imported.step_statuses),
        },
        "totals": _totals(original, imported),
        "counts": {one: receipt.counts[one] for one in ("left_out", "differences", "differing")},
        "left_out": [
            {"table": one.row.table, "id": one.row.id, "reason": one.reason, "detail": one.detail}
            for one in receipt.left_out
        ],
        **{
            kind: [
                {
                    "table": one.row.table,
                    "id": one.row.id,
                    "column": one.column,
                    "original": one.original,
                    "imported": one.imported,
                }
                for one in found
            ]
            for kind, found in (
                ("differences", receipt.differences),
                ("differing", receipt.differing),
            )
        },
    }


def _pairs(original: dict[str, int], imported: dict[str, int]) -> dict[str, list[int]]:
    """Both sides of each count."""
    names = sorted({*original, *imported})
    return {name: [original.get(name, 0), imported.get(name, 0)] for name in names}


def _totals(original: Figures, imported: Figures) -> dict[str, object]:
    """Sums over blocks and users, and the number of blocks and users with other ones."""
    totals: dict[str, object] = {}
    for name in ("executions", "failed", "cost"):
        ours, theirs = getattr(imported, name), getattr(original, name)
        other = sum(theirs[key] != ours[key] for key in {*theirs, *ours})
        totals[name] = [theirs.total(), ours.total()]
        totals[f"{name}_differing"] = other
    return totals


def _print(about: dict[str, float], receipt: Receipt) -> None:
    shown = table("", "original", "here")
    document = _document(receipt)
    for name, (theirs, ours) in _pairs(receipt.original.rows, receipt.imported.rows).items():
        shown.add_row(name.replace("_", " "), f"{theirs:,}", f"{ours:,}")
    for kind in ("run", "step"):
        theirs, ours = (
            getattr(s, f"{kind}_statuses") for s in (receipt.original, receipt.imported)
        )
        for status, pair in _pairs(theirs, ours).items():
            shown.add_row(f"{kind}s {status}", *(f"{count:,}" for count in pair))
    totals = document["totals"]
    for name in ("executions", "failed", "cost"):
        shown.add_row(f"total {name}", *(f"{count:,}" for count in totals[name]))  # type: ignore[index]
    out.print(shown)
    out.print(
        f"Sent {about['sent']:,} commands in {about['seconds']:,} s "
        f"({about['commands_per_second']:,} per second); {about['unchanged']:,} runs and "
        "key-values were here already."
    )
    for kind, text in (
        ("left_out", "rows are left out, as no legal way leads to them"),
        ("differences", "columns have the nearest value that the rules allow"),
        ("differing", "columns differ, and no rule explains it"),
    ):
        if receipt.counts[kind]:
            err.print(f"{receipt.counts[kind]:,} {text}:")
            for one in document[kind][:SHOWN]:  # type: ignore[index]
                err.print(
                    "  " + " ".join(f"{name}={value}" for name, value in one.items()), markup=False
                )
    if receipt.is_equal:
        out.print("All other rows are here as they were.")
