"""The audit of acts at a terminal."""

import socket

from execstream.cli.common import actor
from execstream.config.settings import Settings
from execstream.storage.access.audit_log import Act, Author, record_acts
from execstream.storage.connections import WRITE, connection


async def record(settings: Settings, *acts: Act) -> None:
    """Add acts that are done to the audit."""
    author = Author(actor(settings), None, f"terminal at {socket.gethostname()}")
    async with connection(settings.postgres, settings.schema_, WRITE) as opened:
        await record_acts(opened, author, acts)
