"""The audit of acts at a terminal: every command that changes something records what it did.

Producers do not: their commands are on the topic.
"""

import socket

from execstream.cli.common import actor
from execstream.cli.terminal import err
from execstream.config.settings import Settings
from execstream.storage.access.audit_log import Act, Author, record_acts
from execstream.storage.connections import AWAY, WRITE, connection


async def record(settings: Settings, *acts: Act) -> None:
    """Add acts that are done to the audit."""
    author = Author(actor(settings), None, f"terminal at {socket.gethostname()}")
    async with connection(settings.postgres, settings.schema_, WRITE) as opened:
        await record_acts(opened, author, acts)


async def record_where_possible(settings: Settings, *acts: Act) -> None:
    """`record` for commands that do without Postgres: a sentence on stderr when it is away,
    or has no table of acts yet."""
    if settings.postgres_dsn is None or not acts:
        return
    try:
        await record(settings, *acts)
    except AWAY as error:
        err.print(f"This act is not in the audit: {error}", soft_wrap=True)
