"""Alerts: raising, changing and closing them, and the messages about each change.

A change of an alert holds a lock of the schema until the commit, so messages become visible in the
order of their ids, and each is written together with its change.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg
import msgspec
from pydantic import BaseModel

from execstream.storage.querying import Where, at_least_one
from execstream.storage.reads.read_errors import InvalidCursor
from execstream.storage.schema.tables import ALERTS
from execstream.storage.unreadable_rows import readable, reading_row
from execstream.streams import exact_json
from execstream.streams.totals.alert_rules import Kind, Severity, title

IDLE_LIMIT = "10s"  # after which a worker that was stopped in the middle loses the lock

_LOCK = "hashtextextended('execstream.alerts/' || current_schema(), 0)"
_Cursor = tuple[bool, int]
_decode_cursor = msgspec.json.Decoder(_Cursor).decode


class MessageType(StrEnum):
    OPENED = "alert.opened"
    CHANGED = "alert.changed"
    CLOSED = "alert.closed"


class Alert(BaseModel):
    """An alert as it is published. `figures`: the figures it was judged by, docs/contract.md."""

    id: int
    kind: Kind
    severity: Severity
    title: str
    block_id: str | None
    error_class: str | None
    graph_exec_id: str | None
    figures: dict[str, Any]
    opened_at: datetime
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    silenced_until: datetime | None


class OpenAlert(BaseModel):
    """An open alert with the state that the next judgement needs."""

    alert: Alert
    calm_since: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to raise an alert of; of a subject there is one open alert at a time."""

    subject: str
    kind: Kind
    severity: Severity
    figures: Mapping[str, object]
    block_id: str | None = None
    error_class: str | None = None
    graph_exec_id: str | None = None


_COLUMNS = """id, kind, severity, block_id, error_class, graph_exec_id::text,
    figures::text as figures, opened_at, closed_at, acknowledged_at, acknowledged_by,
    silenced_until"""


@asynccontextmanager
async def only_one(connection: asyncpg.Connection) -> AsyncIterator[datetime | None]:
    """A transaction of one judge at a time: yields Postgres' time, or None while another one
    judges.
    """
    async with connection.transaction():
        await connection.execute(f"set local idle_in_transaction_session_timeout = '{IDLE_LIMIT}'")
        yield await connection.fetchval(
            f"select case when pg_try_advisory_xact_lock({_LOCK}) then now() end"
        )


@asynccontextmanager
async def _after_others(connection: asyncpg.Connection) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute(f"select pg_advisory_xact_lock({_LOCK})")
        yield


# ---- judging ---------------------------------------------------------------------------------


async def load_open(connection: asyncpg.Connection) -> dict[str, OpenAlert]:
    """The open alerts by subject, without those whose figures cannot be judged again."""
    rows = await connection.fetch(
        f"select {_COLUMNS}, subject, calm_since from alert where closed_at is null order by id"
    )
    return {row["subject"]: one for row, one in readable(rows, _open_alert)}


def _open_alert(row: asyncpg.Record) -> tuple[asyncpg.Record, OpenAlert]:
    alert = _alert(row)
    with reading_row(ALERTS.name):
        # A TypeError tells that one is not a number.
        _ = [figure > 0 for figure in _judged_by(alert)]
    return row, OpenAlert(alert=alert, calm_since=row["calm_since"])


def _judged_by(alert: Alert) -> Sequence[Any]:
    """The figures that a judge of the alert compares."""
    figures = alert.figures
    if alert.kind == Kind.BUDGET:
        return (figures["now"]["cost"],)
    if alert.kind == Kind.FAILING:
        return (figures["threshold"], figures["worst"]["least_rate"])
    return (figures["at_open"]["seconds"],)


# A silence of a subject also covers its next alert, until the time is over.
_RAISE = f"""
insert into alert (subject, kind, severity, block_id, error_class, graph_exec_id, figures,
                   silenced_until)
values ($1, $2, $3, $4, $5, $6, $7::text::jsonb,
        (select max(silenced_until) from alert where subject = $1 and silenced_until > now()))
on conflict (subject) where closed_at is null do nothing
returning {_COLUMNS}
"""


async def raise_alert(
    connection: asyncpg.Connection, finding: Finding, *, has_webhook: bool
) -> Alert | None:
    """Open an alert; None when one of the subject is open."""
    row = await connection.fetchrow(
        _RAISE,
        finding.subject,
        finding.kind,
        finding.severity,
        finding.block_id,
        finding.error_class,
        finding.graph_exec_id,
        _json(finding.figures),
    )
    if row is None:
        return None
    alert = _alert(row)
    await _add_message(connection, MessageType.OPENED, alert, has_webhook=has_webhook)
    return alert


_UPDATE = f"""
update alert set figures = $2::text::jsonb, severity = $3, calm_since = $4
 where id = $1 returning {_COLUMNS}
"""


async def update_alert(
    connection: asyncpg.Connection,
    alert_id: int,
    figures: Mapping[str, object],
    severity: Severity,
    calm_since: datetime | None,
) -> Alert:
    """Store the figures of an open alert; publishes nothing."""
    return _alert(
        await connection.fetchrow(_UPDATE, alert_id, _json(figures), severity, calm_since)
    )


async def add_changed_message(
    connection: asyncpg.Connection, alert: Alert, *, has_webhook: bool
) -> None:
    """Add a message that an alert has changed."""
    await _add_message(connection, MessageType.CHANGED, alert, has_webhook=has_webhook)


_CLOSE = f"update alert set closed_at = now() where id = $1 returning {_COLUMNS}"


async def close_alert(connection: asyncpg.Connection, alert_id: int, *, has_webhook: bool) -> None:
    """An alert is over."""
    alert = _alert(await connection.fetchrow(_CLOSE, alert_id))
    await _add_message(connection, MessageType.CLOSED, alert, has_webhook=has_webhook)


_END_SILENCES = f"""
update alert set silenced_until = null where closed_at is null and silenced_until <= now()
returning {_COLUMNS}
"""


async def end_silences(connection: asyncpg.Connection, *, has_webhook: bool) -> None:
    """Publish open alerts whose silence is over."""
    for alert in readable(await connection.fetch(_END_SILENCES), _alert):
        await _add_message(connection, MessageType.CHANGED, alert, has_webhook=has_webhook)


# A silenced alert is published on Redis, and not sent to the webhook.
_ADD_MESSAGE = """
insert into alert_message (alert_id, type, alert, next_try_at)
values ($1, $2, $3::text::jsonb, case when $4 then now() end)
"""


async def _add_message(
    connection: asyncpg.Connection, type_: MessageType, alert: Alert, *, has_webhook: bool
) -> None:
    is_due = has_webhook and alert.silenced_until is None
    body = exact_json.encode(alert).decode()
    await connection.execute(_ADD_MESSAGE, alert.id, type_, body, is_due)


# ---- acts of operators -----------------------------------------------------------------------

_ACKNOWLEDGE = f"""
update alert set acknowledged_at = now(), acknowledged_by = $2
 where id = $1 and acknowledged_at is null returning {_COLUMNS}
"""


async def acknowledge(db: asyncpg.Pool, alert_id: int, by: str | None = None) -> Alert | None:
    """Acknowledge an alert; the first user to do so is kept. None when there is no such alert."""
    async with db.acquire() as connection, _after_others(connection):
        row = await connection.fetchrow(_ACKNOWLEDGE, alert_id, by)
        if row is None:
            return await get_alert(connection, alert_id)
        await _add_message(connection, MessageType.CHANGED, _alert(row), has_webhook=False)
        return _alert(row)


_SILENCE = f"""
update alert set silenced_until = now() + make_interval(mins => $2)
 where id = $1 returning {_COLUMNS}
"""
_UNSAY = """
update alert_message set next_try_at = null where alert_id = $1 and next_try_at is not null
"""


async def silence(db: asyncpg.Pool, alert_id: int, minutes: int) -> Alert | None:
    """Silence the subject of an alert on the webhook for `minutes`, unsent messages included; None
    when there is no such alert.
    """
    async with db.acquire() as connection, _after_others(connection):
        row = await connection.fetchrow(_SILENCE, alert_id, minutes)
        if row is None:
            return None
        await connection.execute(_UNSAY, alert_id)
        await _add_message(connection, MessageType.CHANGED, _alert(row), has_webhook=False)
        return _alert(row)


async def get_alert(db: asyncpg.Pool | asyncpg.Connection, alert_id: int) -> Alert | None:
    """An alert, or None."""
    row = await db.fetchrow(f"select {_COLUMNS} from alert where id = $1", alert_id)
    return None if row is None else _alert(row)


async def list_alerts(
    db: asyncpg.Pool, *, is_open: bool | None = None, cursor: str | None = None, limit: int = 25
) -> tuple[list[Alert], str | None]:
    """A page of alerts, the open ones first, the newest of each first; and the next cursor.
    ValueError unless `limit` is at least 1."""
    at_least_one(limit=limit)
    where = Where()
    where.add("(closed_at is null) = {}", is_open)
    if cursor is not None:
        was_open, alert_id = _read_cursor(cursor)
        where.add(f"(closed_at is null, id) < ({where.arg(was_open)}, {{}})", alert_id)
    rows = await db.fetch(
        f"""select {_COLUMNS} from alert where {where}
            order by closed_at is null desc, id desc limit {where.arg(limit + 1)}""",
        *where.args,
    )
    alerts = readable(rows[:limit], _alert)
    if len(rows) <= limit:
        return alerts, None
    place = (rows[limit - 1]["closed_at"] is None, rows[limit - 1]["id"])
    return alerts, urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _read_cursor(cursor: str) -> _Cursor:
    try:
        place: _Cursor = _decode_cursor(urlsafe_b64decode(cursor))
        return place
    except ValueError as error:
        raise InvalidCursor(cursor) from error


def _alert(row: asyncpg.Record) -> Alert:
    with reading_row(ALERTS.name):
        about = {name: row[name] for name in Alert.model_fields.keys() - {"figures", "title"}}
        figures: Any = exact_json.decode(row["figures"])
        is_open = row["closed_at"] is None
        alert_title = title(Kind(row["kind"]), row["error_class"], figures, is_open=is_open)
        return Alert(**about, figures=figures, title=alert_title)


def _json(figures: Mapping[str, object]) -> str:
    return exact_json.encode(figures).decode()
