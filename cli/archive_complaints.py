"""The archive beside the topics, for commands that look once."""

from execstream.config.settings import Settings
from execstream.kafka.cluster import Brokers
from execstream.kafka.security import client_options
from execstream.storage.connections import READ, connection
from execstream.storage.log.archive_positions import Backlog, find_complaints


async def complaints_of(settings: Settings) -> tuple[list[Backlog], list[str]]:
    """`find_complaints` on connections of its own; raises one of AWAY without a server."""
    brokers = Brokers(settings.kafka, client_options(), settings.topic_prefix)
    try:
        async with connection(settings.postgres, settings.schema_, READ) as opened:
            return await find_complaints(brokers, opened, settings.topic_prefix)
    finally:
        await brokers.close()
