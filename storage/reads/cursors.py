"""Cursors: the end of a page of runs, as a text that callers return unread."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from uuid import UUID

from execstream.storage.reads.read_errors import InvalidCursor


def encode(created_at: datetime, run_id: UUID) -> str:
    """The cursor that goes on after this run."""
    return urlsafe_b64encode(f"{created_at.isoformat()}/{run_id}".encode()).decode()


def decode(cursor: str) -> tuple[datetime, UUID]:
    """The run to go on after. Raises InvalidCursor."""
    try:
        created_at, run_id = urlsafe_b64decode(cursor).decode().split("/")
        return datetime.fromisoformat(created_at), UUID(run_id)
    except ValueError as error:
        raise InvalidCursor(cursor) from error
