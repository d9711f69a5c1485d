"""Open transactions: which producer holds back the records of a partition, and since when.

A consumer of committed records reads up to the stable offset: the first record of the oldest open
transaction. Records of other producers after it wait until that transaction ends, or times out.
aiokafka has no request for this, so here is one of its own (`DescribeProducers`, Kafka 2.8).
"""

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from execstream.kafka.security import client_options

PartitionKey = tuple[str, int]
"""Topic and partition."""

ABORT = (
    "Have that producer commit or abort; `kafka-transactions.sh abort` does it by topic, partition "
    "and first offset. Deny transactional ids where none are meant (docs/deploy.md)."
)

_TEXT, _END = CompactString("utf-8"), ("tags", TaggedFields)
_NO_TAGS: dict[int, bytes] = {}
_NONE_OPEN = -1


class OpenTransaction(NamedTuple):
    """A transaction that has neither been committed nor given up.

    Attributes:
        first_offset: its first record in that partition; from this one on none can be read.
        last_at: when the producer last sent something.
    """

    topic: str
    partition: int
    producer_id: int
    first_offset: int
    last_at: datetime

    def describe(self) -> str:
        """Return it as a clause."""
        return (
            f"producer {self.producer_id} has a transaction open on {self.topic}[{self.partition}] "
            f"since offset {self.first_offset} (last heard {self.last_at:%Y-%m-%dT%H:%M:%SZ})"
        )


class _Answer(Response):  # type: ignore[misc] # it has no types
    API_KEY = 61
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", _TEXT),
                        (
                            "producers",
                            CompactArray(
                                ("producer_id", Int64),
                                ("producer_epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp", Int64),
                                ("coordinator_epoch", Int32),
                                ("first_offset", Int64),
                                _END,
                            ),
                        ),
                        _END,
                    ),
                ),
                _END,
            ),
        ),
        _END,
    )


class _Question(RequestStruct):  # type: ignore[misc] # it has no types
    API_KEY = 61
    API_VERSION = 0
    RESPONSE_TYPE = _Answer
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("topics", CompactArray(("name", _TEXT), ("partitions", CompactArray(Int32)), _END)), _END
    )


class _DescribeProducers(Request[_Question]):  # type: ignore[misc] # it has no types
    API_KEY = 61

    def __init__(self, topics: dict[str, list[int]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_Question]) -> _Question:
        asked = [(name, numbers, _NO_TAGS) for name, numbers in self._topics.items()]
        return request_struct_class(asked, _NO_TAGS)


async def open_transactions(
    admin: AIOKafkaAdminClient, partitions: Collection[PartitionKey]
) -> list[OpenTransaction]:
    """Return the open transactions on `partitions`, the one that began first in each first.

    Raises KafkaError where a broker does not answer.
    """
    cluster = await admin._client.fetch_all_metadata()  # noqa: SLF001 - aiokafka has no other way
    by_leader: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for topic, number in sorted(partitions):
        by_leader[cluster._partitions[topic][number].leader][topic].append(number)  # noqa: SLF001
    found = []
    for leader, topics in by_leader.items():
        answer = await admin._send_request_to_node(leader, _DescribeProducers(topics))  # noqa: SLF001
        for topic in answer.to_object()["topics"]:
            for part in topic["partitions"]:
                if part["error_code"]:
                    raise for_code(part["error_code"])(part["error_message"])
                found += [
                    _transaction(topic["name"], part["partition"], producer)
                    for producer in part["producers"]
                    if producer["first_offset"] != _NONE_OPEN
                ]
    return sorted(found, key=lambda one: (one.topic, one.partition, one.first_offset))


async def ask_open_transactions(
    bootstrap: str, partitions: Collection[PartitionKey]
) -> list[OpenTransaction]:
    """`open_transactions` on a connection of its own; raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **client_options())
    try:
        await admin.start()
        return await open_transactions(admin, partitions)
    finally:
        await admin.close()


def _transaction(topic: str, partition: int, producer: dict[str, Any]) -> OpenTransaction:
    last_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=producer["last_timestamp"])
    return OpenTransaction(
        topic, partition, producer["producer_id"], producer["first_offset"], last_at
    )
