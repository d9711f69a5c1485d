"""Routes of alerts: what is open and what was, and what people do about it."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from execstream.dashboard.access import Operator
from execstream.dashboard.problems import ProblemError, not_found
from execstream.dashboard.responses import Cursor, Json, Limit, Listing, listing
from execstream.dashboard.services import Served
from execstream.storage.alerts.records import Alert, acknowledge, list_alerts, silence

MOST_BYTES = 4_096  # of a body
MOST_MINUTES = 7 * 24 * 60

AlertId = Annotated[int, Path(ge=1, lt=2**63)]


class Acknowledgement(BaseModel):
    """Who has seen it."""

    by: str | None = Field(None, max_length=128)


class Silence(BaseModel):
    """For how long nobody is called."""

    minutes: int = Field(ge=1, le=MOST_MINUTES)


def _small_json(request: Request) -> None:
    """What a foreign page could send without asking first is not taken, and nothing large."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
    length = request.headers.get("Content-Length", "")
    if not length.isdigit() or int(length) > MOST_BYTES:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"Send {MOST_BYTES} bytes at most, and their length.",
        )


router = APIRouter(prefix="/v1/alerts", tags=["alerts"], dependencies=[Operator])

_POST: dict[str, Any] = {"response_model": Alert, "dependencies": [Depends(_small_json)]}


@router.get("", response_model=Listing[Alert])
async def get_alerts(
    served: Served,
    open: bool | None = None,  # noqa: A002 - the parameter's name
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Response:
    """Alerts, the open ones first, and of each the newest first."""
    return listing(*await list_alerts(served.db, is_open=open, cursor=cursor, limit=limit))


@router.post("/{alert_id}/acknowledge", **_POST)
async def post_acknowledgement(
    served: Served, alert_id: AlertId, body: Acknowledgement
) -> Response:
    """Say that somebody has seen it. The first who says so counts."""
    return _response(alert_id, await acknowledge(served.db, alert_id, body.by))


@router.post("/{alert_id}/silence", **_POST)
async def post_silence(served: Served, alert_id: AlertId, body: Silence) -> Response:
    """Have the webhook hear nothing of its subject for some time."""
    return _response(alert_id, await silence(served.db, alert_id, body.minutes))


def _response(alert_id: int, alert: Alert | None) -> Response:
    if alert is None:
        raise not_found(f"alert {alert_id}")
    return Json(alert)
