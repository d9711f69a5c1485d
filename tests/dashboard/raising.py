"""Alerts as the worker raises them, without waiting for anything to fail."""

import asyncpg

from execstream.storage.alerts.records import Alert, Finding, close_alert, raise_alert
from execstream.streams.totals.alert_rules import Kind, Severity

_SEEN = {"minutes": 1, "ended": 20, "failed": 10, "least_rate": 0.2}
_FIGURES = {"threshold": 0.1, "at_open": _SEEN, "worst": _SEEN, "now": _SEEN}


async def raised(db: asyncpg.Pool, block_id: str) -> Alert:
    """An open alert of a block."""
    finding = Finding(
        subject=f"block:{block_id}",
        kind=Kind.FAILING,
        severity=Severity.WARNING,
        figures=_FIGURES,
        block_id=block_id,
    )
    async with db.acquire() as connection:
        alert = await raise_alert(connection, finding, has_webhook=False)
    assert alert is not None
    return alert


async def closed(db: asyncpg.Pool, alert: Alert) -> None:
    """It is over."""
    async with db.acquire() as connection:
        await close_alert(connection, alert.id, has_webhook=False)
