"""Alerts of blocks that fail too often, as a whole or with one class of errors.

All state is in Postgres, so any worker can judge, whichever did before.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from execstream.storage.alerts import records
from execstream.storage.alerts.figures import (
    Rated,
    load_block_rates,
    load_class_rates,
    load_usual,
    named_blocks,
)
from execstream.storage.alerts.records import Finding, OpenAlert
from execstream.streams.totals.alert_rules import (
    SPANS,
    Counts,
    Kind,
    Rules,
    Severity,
    Spans,
    exceeding,
    is_calm,
    keeping_span,
    least_rate,
    severity,
    threshold,
)

CALM_FOR = timedelta(minutes=1)  # until an alert is over: hysteresis in time
MOST_UNNAMED = 100  # open alerts of blocks that the catalogue lacks: producers choose their ids

_NOTHING: Spans = dict.fromkeys(SPANS, Counts())

Rates = Mapping[Rated, Spans]


async def look_at_blocks(
    connection: asyncpg.Connection, rules: Rules, *, has_webhook: bool
) -> list[Finding]:
    """Raise, change and close alerts of blocks that fail; return the raised ones. Does nothing
    while another worker judges.
    """
    async with records.only_one(connection) as now:
        if now is None:
            return []
        await records.end_silences(connection, has_webhook=has_webhook)
        opened = {
            subject: one
            for subject, one in (await records.load_open(connection)).items()
            if one.alert.kind == Kind.FAILING
        }
        rates = await _load_rates(connection, rules, opened.values())
        for one in opened.values():
            await _look_again(connection, one, rates, now, has_webhook=has_webhook)
        suspects = {
            rated: spans
            for rated, spans in rates.items()
            if _subject(rated) not in opened and _exceeds(rules, rated, spans)
        }
        usual: Mapping[Rated, Counts] = {}
        if suspects:
            usual = await load_usual(connection, rules, {r.block_id for r in suspects})
        findings = _uncovered(_judged(rules, suspects, usual, rates), opened.values())
        findings = await _bounded(connection, findings, opened.values())
        for finding in findings:
            await records.raise_alert(connection, finding, has_webhook=has_webhook)
        return findings


async def _bounded(
    connection: asyncpg.Connection, findings: Sequence[Finding], opened: Iterable[OpenAlert]
) -> list[Finding]:
    """Return the findings about blocks that the catalogue has, and as many others as there is room
    for, as they are sorted.
    """
    blocks = [str(one.alert.block_id) for one in opened]
    named = await named_blocks(connection, {*blocks, *(str(one.block_id) for one in findings)})
    room = max(0, MOST_UNNAMED - sum(block not in named for block in blocks))
    others = [one for one in findings if one.block_id not in named]
    return [one for one in findings if one.block_id in named] + others[:room]


async def _load_rates(
    connection: asyncpg.Connection, rules: Rules, opened: Iterable[OpenAlert]
) -> Rates:
    """Load the rates of blocks that have an alert or may need one, and of the classes of their
    errors: no class fails where its block does not.
    """
    known = {str(one.alert.block_id) for one in opened}
    blocks = {
        rated: spans
        for rated, spans in (await load_block_rates(connection, rules, known)).items()
        if rated.block_id in known or _exceeds(rules, rated, spans)
    }
    return blocks | (await load_class_rates(connection, rules, blocks) if blocks else {})


async def _look_again(
    connection: asyncpg.Connection,
    one: OpenAlert,
    rates: Rates,
    now: datetime,
    *,
    has_webhook: bool,
) -> None:
    """Update the figures of an open alert, measured against the threshold it was raised by."""
    alert, figures = one.alert, one.alert.figures
    spans = rates.get(Rated(str(alert.block_id), alert.error_class), _NOTHING)
    calm_since = (one.calm_since or now) if is_calm(spans, figures["threshold"]) else None
    if calm_since is not None and now - calm_since >= CALM_FOR:
        await records.close_alert(connection, alert.id, has_webhook=has_webhook)
        return
    span = keeping_span(spans)
    # It may get worse and then stays so; otherwise messages would go back and forth.
    level = max(alert.severity, severity(spans, span), key=list(Severity).index)
    seen = _figures(spans, span)
    worst = max(figures["worst"], seen, key=lambda one: one["least_rate"])
    fresh = {**figures, "worst": worst, "now": seen}
    if (fresh, calm_since, level) == (figures, one.calm_since, alert.severity):
        return
    changed = await records.update_alert(connection, alert.id, fresh, level, calm_since)
    if level != alert.severity:
        await records.add_changed_message(connection, changed, has_webhook=has_webhook)


def _judged(
    rules: Rules, suspects: Rates, usual: Mapping[Rated, Counts], rates: Rates
) -> list[Finding]:
    """Which of `suspects` fail more often than they usually do, blocks before classes."""
    findings = []
    for rated in sorted(suspects, key=lambda rated: (rated.error_class or "", rated.block_id)):
        spans, before = suspects[rated], usual.get(rated, Counts())
        limit = threshold(rules.rate_of(rated.block_id), before)
        span = exceeding(spans, limit)
        if span is None:
            continue
        seen = _figures(spans, span)
        figures = {
            "threshold": round(limit, 4),
            "usual_rate": round(before.rate, 4) if before.ended else None,
            "leading_class": rated.error_class or _leading_class(rates, rated.block_id, span),
            **dict.fromkeys(("at_open", "worst", "now"), seen),
        }
        findings.append(
            Finding(
                subject=_subject(rated),
                kind=Kind.FAILING,
                severity=severity(spans, span),
                block_id=rated.block_id,
                error_class=rated.error_class,
                figures=figures,
            )
        )
    return findings


def _uncovered(findings: Iterable[Finding], opened: Iterable[OpenAlert]) -> list[Finding]:
    """Drop error classes already covered by an open alert on the block."""
    covered = {
        (one.alert.block_id, one.alert.figures["leading_class"])
        for one in opened
        if one.alert.error_class is None
    }
    uncovered = []
    for finding in findings:
        if finding.error_class is None:
            covered.add((finding.block_id, finding.figures["leading_class"]))
        elif (finding.block_id, finding.error_class) in covered:
            continue
        uncovered.append(finding)
    return uncovered


def _exceeds(rules: Rules, rated: Rated, spans: Spans) -> bool:
    """Return whether more fails than the settings allow, whatever is usual."""
    return exceeding(spans, rules.rate_of(rated.block_id)) is not None


def _subject(rated: Rated) -> str:
    """The subject, which has at most one open alert; no block's id has a slash."""
    return "/".join(["block:" + rated.block_id, *filter(None, [rated.error_class])])


def _figures(spans: Spans, span: int) -> dict[str, Any]:
    ended, failed = spans[span]
    least = round(least_rate(spans[span]), 4)
    return {"minutes": span, "ended": ended, "failed": failed, "least_rate": least}


def _leading_class(rates: Rates, block_id: str, span: int) -> str | None:
    """The class of most of a block's failures."""
    by_class = {
        rated.error_class: spans[span].failed
        for rated, spans in rates.items()
        if rated.block_id == block_id and rated.error_class is not None
    }
    return max(by_class, key=lambda name: by_class[name], default=None)
