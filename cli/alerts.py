"""`execstream alerts`: blocks that fail, runs that are stuck, and their acknowledgement."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from execstream.cli.acts import record
from execstream.cli.common import Json, Limit, actor, opened, print_json, print_more, start, table
from execstream.cli.terminal import Table, Text, out
from execstream.cli.words import moment
from execstream.config.settings import Settings
from execstream.storage.access.audit_log import Act
from execstream.storage.alerts.records import Alert, acknowledge, list_alerts, silence
from execstream.streams.errors import Fatal
from execstream.streams.totals.alert_rules import Severity

MOST_MINUTES = 7 * 24 * 60

STYLES = {Severity.WARNING: "yellow", Severity.CRITICAL: "red"}

Id = Annotated[int, Parameter(name="ID")]

alerts = App(name="alerts", help="Blocks that fail and runs that are stuck.")


class NoSuchAlert(Fatal):
    """No alert has that id."""


@alerts.command(name="list")
async def list_(
    *,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    limit: Limit = 25,
    json: Json = False,
) -> None:
    """List alerts that are open, newest first.

    Parameters
    ----------
    every
        Those that are over, too, after the open ones.
    """
    settings = start()
    async with opened(settings) as db:
        found, more = await list_alerts(db, is_open=None if every else True, limit=limit)
    if json:
        for alert in found:
            print_json(alert)
    else:
        out.print(_table(found))
    if more is not None:
        print_more()


def _table(found: Sequence[Alert]) -> Table:
    rows = table("id", "severity", "opened", "state", "where", "what")
    for alert in found:
        rows.add_row(
            str(alert.id),
            Text(alert.severity, STYLES[alert.severity]),
            moment(alert.opened_at),
            _state(alert),
            " ".join(filter(None, [alert.block_id, alert.graph_exec_id])),
            alert.title,
        )
    return rows


@alerts.command(name="acknowledge")
async def acknowledge_(alert_id: Id, /, *, by: str | None = None, json: Json = False) -> None:
    """Acknowledge an alert.

    Parameters
    ----------
    by
        The user; EXECSTREAM_ACTOR, or your name on this machine, when not given.
    """
    settings = start()
    async with opened(settings) as db:
        alert = await acknowledge(db, alert_id, by or actor(settings))
    await _done(settings, "acknowledge", alert_id, alert, json=json)


@alerts.command(name="silence")
async def silence_(
    alert_id: Id,
    /,
    *,
    minutes: Annotated[int, Parameter(validator=Number(gte=1, lte=MOST_MINUTES))] = 60,
    json: Json = False,
) -> None:
    """Silence the subject of an alert on the webhook, for some time.

    Parameters
    ----------
    minutes
        For how long.
    """
    settings = start()
    async with opened(settings) as db:
        alert = await silence(db, alert_id, minutes)
    await _done(settings, "silence", alert_id, alert, json=json)


async def _done(
    settings: Settings, act: str, alert_id: int, alert: Alert | None, *, json: bool
) -> None:
    if alert is None:
        raise NoSuchAlert(
            f"There is no alert {alert_id}: `execstream alerts list --all` shows those there are."
        )
    await record(settings, Act(f"alert.{act}", str(alert_id), "done"))
    if json:
        print_json(alert)
    else:
        out.print(f"{alert.id}: {_state(alert)}")


def _state(alert: Alert) -> str:
    if alert.closed_at is not None:
        return f"over since {moment(alert.closed_at)}"
    if alert.silenced_until is not None:
        return f"silent until {moment(alert.silenced_until)}"
    if alert.acknowledged_at is not None:
        by = f" by {alert.acknowledged_by}" if alert.acknowledged_by else ""
        return f"seen {moment(alert.acknowledged_at)}{by}"
    return "new"
