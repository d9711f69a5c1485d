"""Kafka: a broker answers, and its topics are those of topics.yaml.

Kafka reports neither its version nor its time, so neither is checked.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)

from execstream.cli.diagnosis.finding import Examined, Finding, sentence
from execstream.config.settings import Settings, variable
from execstream.kafka.admin import Difference, describe, find_differences
from execstream.kafka.cluster import Brokers
from execstream.kafka.security import CertificatesUnusable, client_options, configure_security
from execstream.kafka.transactions import ABORT
from execstream.streams.topics import TOPICS

PATIENCE = 10.0  # seconds for everything a broker is asked at once
RETRY = 0.2  # seconds
ROLES = ("apply", "tally", "bridge")

_kafka = Examined("kafka")

_UNCHANGEABLE = {
    "partitions": "For partitions that were raised, see docs/operations.md. "
    "Is this the right cluster and topic prefix? Partitions are never changed in "
    "place; a topic of another number needs another prefix, and everything in it anew.",
    "replication": "Have kafka-reassign-partitions change it, or set "
    f"{variable('replication_factor')} to what is meant.",
}
_AUTO_CREATE = "auto.create.topics.enable"
_APPLY = "Run `execstream topics apply`."


async def examine_kafka(settings: Settings) -> AsyncIterator[Finding]:
    """Ends after the first finding when no broker lets us in."""
    try:
        configure_security(settings.kafka_security)
    except CertificatesUnusable as error:
        yield _kafka.failed(
            "tls", sentence(error), f"See {variable('kafka_ssl_cafile')} and its like: PEM files."
        )
        return
    with _quiet():
        async for finding in _examine(settings):
            yield finding


async def _examine(settings: Settings) -> AsyncIterator[Finding]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka,
        request_timeout_ms=int(PATIENCE * 1000),
        **client_options(),
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await admin.start()
            brokers = (await admin.describe_cluster())["brokers"]
        yield _kafka.ok("answers", f"{len(brokers)} brokers at {settings.kafka}")
        if await _makes_topics(admin, brokers[0]["node_id"]):
            yield _kafka.warning(
                "settings",
                "auto.create.topics.enable is on: a client that comes before `execstream topics "
                "apply` leaves topics with a wrong number of partitions",
                "Set it to false on the brokers.",
            )
        for role in ROLES:
            yield await _group(admin, f"{settings.group_prefix}-{role}")
        for topic in await _forbidden(admin, settings.topic_prefix):
            yield topic
    except (KafkaConnectionError, TimeoutError):
        yield await _why_not(settings)
        return
    finally:
        await admin.close()
    for finding in await _topics(settings):
        yield finding
    yield await _transactions(settings)


async def _makes_topics(admin: AIOKafkaAdminClient, broker: int) -> bool:
    """Return whether brokers create topics on request; False when they do not report it."""
    wanted = ConfigResource(ConfigResourceType.BROKER, str(broker), {_AUTO_CREATE: ""})
    answers = await admin.describe_configs([wanted])
    entries = [entry for answer in answers for one in answer.resources for entry in one[4]]
    return any(name == _AUTO_CREATE and value == "true" for name, value, *_ in entries)


async def _group(admin: AIOKafkaAdminClient, group: str) -> Finding:
    """Check that we may be a member of a consumer group."""
    try:
        await _positions(admin, group)
    except GroupAuthorizationFailedError:
        return _kafka.failed(
            "permissions",
            f"group {group} must not be read by this user",
            f"Allow READ on the group {group} (kafka-acls --add --operation Read --group …).",
        )
    except (KafkaError, TimeoutError) as error:
        found = f"{group}: {sentence(error)}"
        return _kafka.failed("group", found, "Look at the broker's log, and ask again.")
    return _kafka.ok("group", group)


async def _positions(admin: AIOKafkaAdminClient, group: str) -> None:
    """Ask for the offsets of a group; the first request to a new cluster has to wait."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await admin.list_consumer_group_offsets(group)
                return
            except GroupCoordinatorNotAvailableError:
                await asyncio.sleep(RETRY)


async def _forbidden(admin: AIOKafkaAdminClient, prefix: str) -> list[Finding]:
    """Topics that are there and must not be seen, which looks as if they were missing."""
    topics = await describe(admin, [prefix + topic.name for topic in TOPICS])
    return [
        _kafka.failed(
            "permissions",
            f"{topic['topic']} must not be described by this user",
            "Allow DESCRIBE, READ and WRITE on the topics (kafka-acls --add …).",
        )
        for topic in topics
        if for_code(topic["error_code"]) is TopicAuthorizationFailedError
    ]


async def _transactions(settings: Settings) -> Finding:
    """Check that no open transaction holds records back."""
    brokers = Brokers(settings.kafka, client_options(), settings.topic_prefix)
    try:
        found = await brokers.open_transactions()
    except (ConnectionError, TimeoutError) as error:
        return _kafka.failed("transactions", sentence(error), "Look at the broker's log.")
    finally:
        await brokers.close()
    if not found:
        return _kafka.ok("transactions", "none holds records back")
    return _kafka.warning("transactions", "; ".join(one.describe() for one in found), ABORT)


async def _topics(settings: Settings) -> list[Finding]:
    differences = await find_differences(
        settings.kafka, settings.topic_prefix, settings.replication_factor
    )
    if not differences:
        return [_kafka.ok("topics", f"{len(TOPICS)} as topics.yaml says")]
    return [_different(difference) for difference in differences]


def _different(difference: Difference) -> Finding:
    topic, what = difference.topic, difference.what
    if difference.found is None and what == "topic":
        return _kafka.failed("topics", f"{topic} is missing", _APPLY)
    found = f"{topic}: {what} is {difference.found}, not {difference.expected}"
    return _kafka.failed("topics", found, _UNCHANGEABLE.get(what, _APPLY))


async def _why_not(settings: Settings) -> Finding:
    """Find why no broker lets us in: each is tried again, and the first reason is reported."""
    answers: list[tuple[str, BaseException | None]] = []
    for host, port, _ in collect_hosts(settings.kafka, randomize=False):
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await create_conn(
                    host, port, request_timeout_ms=int(PATIENCE * 1000), **client_options()
                )
        except (KafkaError, OSError) as error:
            answers.append((f"{host}:{port}: {sentence(error)}", error))
        else:
            connection.close()
    found, reason = answers[0] if answers else (f"{settings.kafka}: no answer", None)
    return _kafka.failed("answers", found, _remedy(reason))


def _remedy(error: BaseException | None) -> str:
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"Set {variable('kafka_sasl_mechanism')} to one that the brokers know."
    text = sentence(error).lower() if error else ""
    if "authentication" in text:
        return (
            f"Mend {variable('kafka_sasl_username')} and {variable('kafka_sasl_password')}, or let "
            "the user in."
        )
    if "certificate" in text:
        return (
            f"Set {variable('kafka_ssl_cafile')} to the authority that signed the brokers' "
            "certificates, and name the brokers as these do."
        )
    return (
        f"Start Kafka, or mend {variable('kafka_bootstrap')}; where the broker runs and wants TLS "
        f"or a password, {variable('kafka_security_protocol')}."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The client library's own words about it are of no use beside the findings."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
