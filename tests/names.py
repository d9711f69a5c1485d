"""Names that only one test uses, on servers that all tests share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from execstream.devstack import Addresses


@dataclass(frozen=True)
class Names:
    """Prefixes of topics, Redis keys and consumer groups, and a Postgres schema."""

    topic_prefix: str
    schema: str
    redis_prefix: str
    group_prefix: str


@asynccontextmanager
async def lent_names(servers: Addresses) -> AsyncIterator[Names]:
    """Give fresh names, and afterwards remove the objects under them from the servers."""
    unique = uuid4().hex[:12]
    names = Names(f"t{unique}.", f"t{unique}", f"t{unique}:", f"t{unique}")
    try:
        yield names
    finally:
        await _drop_schema(servers.postgres_dsn, names.schema)
        await _delete_topics(servers.kafka_bootstrap, names.topic_prefix)
        await _delete_keys(servers.redis_url, names.redis_prefix)


async def _drop_schema(dsn: str, schema: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET client_min_messages = error")  # no notice when none was made
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    finally:
        await connection.close()


async def _delete_topics(bootstrap: str, prefix: str) -> None:
    # Left in place, a run of all tests would leave the broker with thousands of partitions.
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topics = [topic for topic in await admin.list_topics() if topic.startswith(prefix)]
        if topics:
            await admin.delete_topics(topics)
    finally:
        await admin.close()


async def _delete_keys(url: str, prefix: str) -> None:
    async with Redis.from_url(url) as client:
        keys = [key async for key in client.scan_iter(match=f"{prefix}*", count=1_000)]
        if keys:
            await client.delete(*keys)
