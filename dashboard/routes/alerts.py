"""Routes of alerts: open and closed ones, and their acknowledgement."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.responses import Response

from execstream.dashboard.access import CurrentViewer, Operate, ReadAll, Viewer
from execstream.dashboard.auditing import record
from execstream.dashboard.bodies import JsonBody
from execstream.dashboard.problems import not_found
from execstream.dashboard.responses import Cursor, Json, Limit, Listing, listing
from execstream.dashboard.services import Served, Services
from execstream.storage.access.audit_log import Act
from execstream.storage.alerts.deliveries import Delivery, list_deliveries
from execstream.storage.alerts.records import Alert, acknowledge, list_alerts, silence

MOST_MINUTES = 7 * 24 * 60

AlertId = Annotated[int, Path(ge=1, lt=2**63)]


class Acknowledgement(BaseModel):
    """The user that acknowledges it."""

    by: str | None = Field(None, max_length=128)


class Silence(BaseModel):
    """The time without notifications."""

    minutes: int = Field(ge=1, le=MOST_MINUTES)


router = APIRouter(prefix="/v1/alerts", tags=["alerts"])

_POST: dict[str, Any] = {"response_model": Alert, "dependencies": [Operate, JsonBody]}


@router.get("", response_model=Listing[Alert], dependencies=[ReadAll])
async def get_alerts(
    served: Served,
    open: bool | None = None,  # noqa: A002 - the parameter's name
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Response:
    """Alerts, the open ones first, and of each the newest first."""
    return listing(*await list_alerts(served.db, is_open=open, cursor=cursor, limit=limit))


@router.get("/deliveries", response_model=Listing[Delivery], dependencies=[ReadAll])
async def get_deliveries(served: Served, limit: Limit = 25) -> Response:
    """Messages to the webhook, about alerts and ends of runs, the newest first."""
    return listing(await list_deliveries(served.db, limit))


@router.post("/{alert_id}/acknowledge", **_POST)
async def post_acknowledgement(
    served: Served, viewer: CurrentViewer, alert_id: AlertId, body: Acknowledgement
) -> Response:
    """Acknowledge an alert. The first user to do so is kept."""
    alert = await acknowledge(served.db, alert_id, body.by)
    return await _done(served, viewer, "acknowledge", alert_id, alert)


@router.post("/{alert_id}/silence", **_POST)
async def post_silence(
    served: Served, viewer: CurrentViewer, alert_id: AlertId, body: Silence
) -> Response:
    """Silence its subject on the webhook for some time."""
    alert = await silence(served.db, alert_id, body.minutes)
    return await _done(served, viewer, "silence", alert_id, alert)


async def _done(
    served: Services, viewer: Viewer, act: str, alert_id: int, alert: Alert | None
) -> Response:
    if alert is None:
        raise not_found(f"alert {alert_id}")
    await record(served, viewer, Act(f"alert.{act}", str(alert_id), "done"))
    return Json(alert)
