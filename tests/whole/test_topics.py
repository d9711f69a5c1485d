"""`execstream topics` against a real broker: creates, compares, mends, and refuses."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from execstream.devstack import Addresses
from execstream.kafka.admin import (
    BrokerUnreachable,
    Difference,
    TopicRefused,
    apply_topics,
    find_differences,
)
from execstream.streams.topics import CATALOGUE, COMMANDS, DEAD_LETTERS, EVENTS, TOPICS
from tests.names import Names
from tests.worker import until


@asynccontextmanager
async def administration(stack: Addresses) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def configure(stack: Addresses, topic: str, config: Mapping[str, str]) -> None:
    """Change settings of a topic; return when the broker reports them."""
    async with administration(stack) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])

    async def is_so() -> bool:
        return [await setting(stack, topic, name) for name in config] == [*config.values()]

    await until(is_so)


async def setting(stack: Addresses, topic: str, name: str) -> str:
    async with administration(stack) as admin:
        [answer] = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, {name: ""})]
        )
    [(*_, entries)] = answer.resources
    return str(entries[0][1])


async def _is_there(admin: AIOKafkaAdminClient, topic: str) -> bool:
    return topic in await admin.list_topics()


def test_what_topics_yaml_says() -> None:
    """It names the five topics, and events have the partitions of their commands."""
    assert [topic.name for topic in TOPICS] == [
        "execution.commands.v1",
        "execution.events.v1",
        "execution.catalogue.v1",
        "execution.block-stats.v1",
        "execution.dead-letters.v1",
    ]
    assert EVENTS.partitions == COMMANDS.partitions
    assert COMMANDS.config() == {
        "cleanup.policy": "delete",
        "max.message.bytes": "10485760",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "2592000000",
    }
    assert "retention.ms" not in CATALOGUE.config()


async def test_apply_creates_what_is_missing(stack: Addresses, names: Names) -> None:
    """All topics are missing, then made, then as they should be; a second time changes nothing."""
    at = (stack.kafka_bootstrap, names.topic_prefix)
    missing = [
        Difference(names.topic_prefix + topic.name, "topic", "exists", None) for topic in TOPICS
    ]
    assert await find_differences(*at) == missing

    assert await apply_topics(*at) == missing

    assert await find_differences(*at) == []
    assert await apply_topics(*at) == []


async def test_apply_mends_settings(stack: Addresses, names: Names) -> None:
    """A setting that drifted is reported and corrected; one of the operator's own is kept."""
    at = (stack.kafka_bootstrap, names.topic_prefix)
    letters = names.topic_prefix + DEAD_LETTERS.name
    await apply_topics(*at)
    await configure(stack, letters, {"retention.ms": "1000", "segment.ms": "3600000"})

    told = await apply_topics(*at)

    assert Difference(letters, "retention.ms", "7776000000", "1000") in told
    assert await find_differences(*at) == []
    assert await setting(stack, letters, "segment.ms") == "3600000"


async def test_partitions_are_never_changed(stack: Addresses, names: Names) -> None:
    """Fewer or more partitions than wanted: refused, before anything else is done."""
    commands = names.topic_prefix + COMMANDS.name
    async with administration(stack) as admin:
        await admin.create_topics([NewTopic(commands, 3, 1, topic_configs=COMMANDS.config())])
        await until(lambda: _is_there(admin, commands))

    with pytest.raises(TopicRefused, match="has partitions 3 and should have 8"):
        await apply_topics(stack.kafka_bootstrap, names.topic_prefix)

    found = await find_differences(stack.kafka_bootstrap, names.topic_prefix)
    assert found[0] == Difference(commands, "partitions", "8", "3")
    assert [difference.what for difference in found[1:]] == ["topic"] * 4


async def test_more_replicas_than_brokers(stack: Addresses, names: Names) -> None:
    """The refusal of the broker is printed in its words."""
    with pytest.raises(TopicRefused, match="target replication factor of 3 cannot be reached"):
        await apply_topics(stack.kafka_bootstrap, names.topic_prefix, replication=3)


async def test_no_broker() -> None:
    """An address without a broker is reported."""
    with pytest.raises(BrokerUnreachable, match=r"No Kafka broker answers at 127\.0\.0\.1:1"):
        await find_differences("127.0.0.1:1")
