"""The route of the audit."""

from fastapi import APIRouter
from starlette.responses import Response

from execstream.dashboard.access import Administer
from execstream.dashboard.responses import Cursor, Limit, Listing, listing
from execstream.dashboard.services import Served
from execstream.storage.access.audit_log import AuditEntry, list_audit

router = APIRouter(prefix="/v1/audit", tags=["access"])


@router.get("", response_model=Listing[AuditEntry], dependencies=[Administer])
async def get_audit(
    served: Served,
    actor: str | None = None,
    act: str | None = None,
    subject: str | None = None,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Response:
    """Acts of operators and tokens, newest first."""
    return listing(
        *await list_audit(
            served.db, actor=actor, act=act, subject=subject, cursor=cursor, limit=limit
        )
    )
