"""Bring the topics on a broker to the settings of `topics.yaml`.

Missing topics are created and settings corrected. A change of partitions would lose or move records
and is refused; so is a change of replication, which is a task for the operator's tools.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from execstream.kafka.reader import consumer, extent
from execstream.kafka.security import client_options, no_broker
from execstream.streams.errors import Fatal, Transient
from execstream.streams.topics import TOPICS, Topic

SETTLE_POLL = 0.05  # seconds
SETTLE_POLLS = 300

_SET_FOR_TOPIC = 1  # where a setting comes from, in Kafka's numbers
_TOPIC_ALREADY_EXISTS = 36  # a concurrent `apply` was quicker
_MISSING = "topic"
_UNCHANGEABLE = {
    "partitions": "keys would move to other partitions; make a topic of another version instead",
    "replication": "use kafka-reassign-partitions, or set EXECSTREAM_REPLICATION_FACTOR",
}


class Difference(msgspec.Struct, frozen=True):
    """One setting of a topic that differs from `topics.yaml`; `found` is None if the topic is
    missing.
    """

    topic: str
    what: str
    expected: str
    found: str | None


class TopicRefused(Fatal):
    """A topic cannot be created or changed as required."""


class BrokerUnreachable(Transient):
    """No broker answers at the given address."""


class TopicNotReady(Transient):
    """A topic was created or changed, but brokers do not report it yet."""


async def find_differences(
    bootstrap: str, prefix: str = "", replication: int | None = None
) -> list[Difference]:
    """All that `apply_topics` would mend or refuse; empty when everything is as it should be."""
    async with admin_client(bootstrap) as admin:
        return await _differences(admin, prefix, replication)


async def apply_topics(
    bootstrap: str, prefix: str = "", replication: int | None = None
) -> list[Difference]:
    """Create missing topics and correct settings; return the differences found before.

    Raises TopicRefused, before anything is changed, when a difference cannot be mended.
    """
    async with admin_client(bootstrap) as admin:
        differences = await _differences(admin, prefix, replication)
        for difference in differences:
            _refuse_unchangeable(difference)
        missing = {difference.topic for difference in differences if difference.what == _MISSING}
        await _create(admin, missing, prefix, replication)
        await _configure(admin, {d.topic for d in differences} - missing, prefix)
        await _settled(admin, prefix, replication)
    if missing:
        await _taken_up(bootstrap, missing)
    return differences


async def describe(admin: AIOKafkaAdminClient, topics: list[str]) -> list[dict[str, Any]]:
    """Metadata of topics from the broker, missing topics included.

    The client's own request would make the broker create them, with one partition, if
    auto.create.topics.enable has its default.
    """
    question = MetadataRequest(topics, allow_auto_topic_creation=False)
    answer = await admin._send_request(question)  # noqa: SLF001 - see above
    described: list[dict[str, Any]] = answer.to_object()["topics"]
    return described


@asynccontextmanager
async def admin_client(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **client_options())
    try:
        await admin.start()
        yield admin
    except KafkaConnectionError as error:
        raise BrokerUnreachable(no_broker(bootstrap)) from error
    finally:
        await admin.close()


async def _differences(
    admin: AIOKafkaAdminClient, prefix: str, replication: int | None
) -> list[Difference]:
    wanted = {prefix + topic.name: topic for topic in TOPICS}
    found = {
        topic["topic"]: topic["partitions"]
        for topic in await describe(admin, list(wanted))
        if topic["partitions"]
    }
    configs = await _configs(admin, found)
    differences = []
    for name, topic in wanted.items():
        if name not in found:
            differences.append(Difference(name, _MISSING, "exists", None))
            continue
        is_now = _shape(found[name]) | configs[name]
        for what, expected in _wanted(topic, replication).items():
            if is_now.get(what) != expected:
                differences.append(Difference(name, what, expected, is_now.get(what)))
    return differences


def _wanted(topic: Topic, replication: int | None) -> dict[str, str]:
    return {
        "partitions": str(topic.partitions),
        "replication": str(replication or topic.replication),
        **topic.config(),
    }


def _shape(partitions: list[dict[str, Any]]) -> dict[str, str]:
    return {
        "partitions": str(len(partitions)),
        "replication": str(min(len(partition["replicas"]) for partition in partitions)),
    }


async def _configs(
    admin: AIOKafkaAdminClient, topics: Iterable[str], *, only_of_topic: bool = False
) -> dict[str, dict[str, str]]:
    """Settings by topic; on demand without those that the broker gives to every topic."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    if not resources:
        return {}
    return {
        topic: {
            name: value
            for name, value, _, source, _, _ in settings
            if source == _SET_FOR_TOPIC or not only_of_topic
        }
        for answer in await admin.describe_configs(resources)
        for _, _, _, topic, settings in answer.resources
    }


def _refuse_unchangeable(difference: Difference) -> None:
    topic, what, expected, found = msgspec.structs.astuple(difference)
    if what in _UNCHANGEABLE:
        raise TopicRefused(
            f"{topic} has {what} {found} and should have {expected}, which is not changed in "
            f"place: {_UNCHANGEABLE[what]}."
        )


async def _create(
    admin: AIOKafkaAdminClient, names: set[str], prefix: str, replication: int | None
) -> None:
    new = [
        NewTopic(
            prefix + topic.name,
            topic.partitions,
            replication or topic.replication,
            topic_configs=topic.config(),
        )
        for topic in TOPICS
        if prefix + topic.name in names
    ]
    if not new:
        return
    answer = await admin.create_topics(new)
    for name, code, message in answer.topic_errors:
        if code not in (0, _TOPIC_ALREADY_EXISTS):
            raise TopicRefused(f"{name} cannot be made: {message or for_code(code).__name__}")


async def _configure(admin: AIOKafkaAdminClient, names: set[str], prefix: str) -> None:
    if not names:
        return
    # Kafka resets settings that an alteration does not name, so the operator's settings are sent
    # again.
    kept = await _configs(admin, names, only_of_topic=True)
    changes = [
        ConfigResource(
            ConfigResourceType.TOPIC,
            prefix + topic.name,
            kept[prefix + topic.name] | topic.config(),
        )
        for topic in TOPICS
        if prefix + topic.name in names
    ]
    for answer in await admin.alter_configs(changes):
        for code, message, _, name in answer.resources:
            if code:
                raise TopicRefused(f"{name} cannot be changed: {message}")


async def _settled(admin: AIOKafkaAdminClient, prefix: str, replication: int | None) -> None:
    """Return when every broker asked reports the settings sent, and every partition has a leader.

    Changes reach brokers one after the other. Concurrent changes by others are judged, too.
    """
    for _ in range(SETTLE_POLLS):
        differences = await _differences(admin, prefix, replication)
        for difference in differences:
            _refuse_unchangeable(difference)
        if not differences and await _all_led(admin, prefix):
            return
        await asyncio.sleep(SETTLE_POLL)
    raise TopicNotReady(
        f"The topics at {prefix}* are not ready after {SETTLE_POLL * SETTLE_POLLS:.0f} s. Look at "
        "the broker's log."
    )


async def _taken_up(bootstrap: str, topics: Iterable[str]) -> None:
    """Return when every leader knows that it is one: the first record to it would fail, and the
    client would log that it tries again. Asked for offsets, it tries again without a word."""
    async with consumer(bootstrap) as reader:
        for topic in topics:
            await extent(reader, topic)


async def _all_led(admin: AIOKafkaAdminClient, prefix: str) -> bool:
    topics = await describe(admin, [prefix + topic.name for topic in TOPICS])
    return all(part["error_code"] == 0 for topic in topics for part in topic["partitions"])
