"""Mending of the differences found by `verify`, from the journal, beside running workers.

Entries of the journal come first, from the commands topic, then the rows of their runs. Not mended:
runs and key-values whose journal stays wrong, because the error would spread; and rows that only
the topics determine.
"""

import asyncpg

from execstream.config.settings import Settings
from execstream.recovery.verify import block_stats
from execstream.recovery.verify.repair import (
    fence_off,
    forget_strays,
    held,
    mend_key_value,
    mend_total,
    replace_entries,
    replace_runs,
)
from execstream.recovery.verify.report import Report
from execstream.recovery.verify.row_comparison import entries_of
from execstream.recovery.verify.run_checks import Piece, fold_piece, in_parts
from execstream.streams.progress import ProgressCallback

RUNS_AT_ONCE = 20
TOTALS_AT_ONCE = 500


async def mend(settings: Settings, report: Report, report_progress: ProgressCallback) -> None:
    """Mend where possible; `report.mended` counts entries of the journal, runs, key-values, totals
    and published ones.
    """
    dsn, schema = settings.postgres, settings.schema_
    await _mend_journal(dsn, schema, report)
    await _mend_runs(dsn, schema, report, report_progress)
    key_values = [r for r in report.key_values if r.value("user_id") not in report.broken_users]
    if key_values:
        async with held(dsn, schema, "apply") as connection:
            for row in key_values:
                done = await mend_key_value(connection, row.value("user_id"), row.value("key"))
                report.mended += done
    for rows in in_parts(report.totals, TOTALS_AT_ONCE):
        async with held(dsn, schema, "tally") as connection:
            for row in rows:
                report.mended += await mend_total(connection, row)
    if report.totals or report.counts["block_stats"]:  # wrong totals may have been published
        report.mended += await block_stats.mend(settings)


async def _mend_journal(dsn: str, schema: str, report: Report) -> None:
    """Rewrite single entries, of runs for which the topic has the right form of every wrong one."""
    run_ids = report.mendable_runs
    told = [row for row in report.journal if row.expected is not None]
    told = [row for row in told if row.value("graph_exec_id") in run_ids]
    if not told:
        return
    async with held(dsn, schema, "apply") as connection:
        report.mended += await replace_entries(connection, told)
        # A worker that loaded a run meanwhile has it from the wrong journal.
        await fence_off(connection, "apply")
    report.runs |= run_ids
    report.broken -= run_ids


async def _mend_runs(
    dsn: str, schema: str, report: Report, report_progress: ProgressCallback
) -> None:
    run_ids = sorted(report.runs - report.broken)
    for some in in_parts(run_ids, RUNS_AT_ONCE):
        async with held(dsn, schema, "apply") as connection:
            report.mended += await _rewrite(connection, some)
        report_progress("Mending", report.mended, len(run_ids))
    if report.strays:
        async with held(dsn, schema, "apply") as connection:
            report.mended += len(await forget_strays(connection, report.strays))


async def _rewrite(connection: asyncpg.Connection, run_ids: list[str]) -> int:
    """Recompute rows of `run_ids` from their current journals; return their number."""
    piece = Piece()
    async for row in entries_of(connection, run_ids):
        piece.add(row)
    folded = await fold_piece(connection, piece, Report())
    sound = [run_id for run_id in piece.ids if run_id not in piece.folding.broken]
    await replace_runs(
        connection, sound, folded.rows.runs, folded.rows.steps, but_steps_of=folded.trimmed
    )
    return len(sound)
