"""The id that a Kafka cluster gave itself."""

from execstream.kafka.admin import admin_client


async def find_cluster_id(bootstrap: str) -> str:
    """Ask for the id of the cluster. Raises BrokerUnreachable."""
    async with admin_client(bootstrap) as admin:
        described = await admin.describe_cluster()
    return str(described["cluster_id"])
