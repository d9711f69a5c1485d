"""Servers are killed and come back at the same address, with their data."""

import socket
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from execstream.devstack import Stack, StackError
from tests.names import lent_names


async def topics_of(stack: Stack) -> set[str]:
    """Names of all topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def test_a_killed_broker_comes_back_with_its_topics(breakable_stack: Stack) -> None:
    """After SIGKILL and `restart` the broker has the port and the topics it had."""
    async with lent_names(breakable_stack) as names:
        topic = f"{names.topic_prefix}kept"
        admin = AIOKafkaAdminClient(bootstrap_servers=breakable_stack.kafka_bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
        await admin.close()

        await breakable_stack.kill("kafka")
        assert breakable_stack.ended() == ["kafka"]
        await breakable_stack.restart("kafka")

        assert topic in await topics_of(breakable_stack)


async def test_a_killed_database_keeps_what_was_committed(breakable_stack: Stack) -> None:
    """After SIGKILL and `restart` a committed row is there, under the same address."""
    async with lent_names(breakable_stack) as names:
        connection = await asyncpg.connect(breakable_stack.postgres_dsn)
        await connection.execute(f"CREATE SCHEMA {names.schema}")
        await connection.execute(f"CREATE TABLE {names.schema}.kept AS SELECT 42 AS answer")

        await breakable_stack.kill("postgres")
        await breakable_stack.restart("postgres")

        again = await asyncpg.connect(breakable_stack.postgres_dsn)
        assert await again.fetchval(f"SELECT answer FROM {names.schema}.kept") == 42
        await again.close()
        connection.terminate()


async def test_a_port_that_was_taken_meanwhile_is_named(breakable_stack: Stack) -> None:
    """A server without its port, taken by another process, does not start; the message names it."""
    port = urlsplit(breakable_stack.redis_url).port
    assert port
    await breakable_stack.kill("redis")

    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(StackError, match=rf"Port {port} .* for Redis, is taken by .*process"),
    ):
        await breakable_stack.restart("redis")

    await breakable_stack.restart("redis")
    assert breakable_stack.ended() == []
