"""The audit of acts by HTTP."""

import structlog

from execstream.dashboard import metrics
from execstream.dashboard.access import Viewer
from execstream.dashboard.services import Services
from execstream.storage.access.audit_log import Act, Author, record_acts
from execstream.storage.connections import AWAY
from execstream.streams.errors import reason_of

log = structlog.get_logger(__name__)


async def record(served: Services, viewer: Viewer, *acts: Act) -> None:
    """Add acts that are done to the audit. When Postgres does not take them, they are logged: the
    answer is that of the act."""
    author = Author(viewer.token.name, viewer.user_id, viewer.origin)
    try:
        await record_acts(served.db, author, acts)
    except AWAY as error:
        metrics.UNAUDITED.inc(len(acts))
        for act in acts:
            log.error("not_audited", error=reason_of(error), **author._asdict(), **act._asdict())
