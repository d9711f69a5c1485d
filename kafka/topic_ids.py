"""Identities of topics: the id of the cluster, and the id that it gave to each topic.

A topic that is deleted and recreated has another id (Kafka 2.8 and later). aiokafka has no request
for this, so here is one of its own (`Metadata`, version 10).
"""

from typing import Any
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_TEXT, _END = CompactString("utf-8"), ("tags", TaggedFields)
_NO_TAGS: dict[int, bytes] = {}
_NO_ID = (0, 0)


class _Answer(Response):  # type: ignore[misc] # it has no types
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _END
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("id_high", Int64),
                ("id_low", Int64),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        _END,
                    ),
                ),
                ("authorized_operations", Int32),
                _END,
            ),
        ),
        ("cluster_authorized_operations", Int32),
        _END,
    )


class _Question(RequestStruct):  # type: ignore[misc] # it has no types
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _Answer
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("id_high", Int64), ("id_low", Int64), ("name", _TEXT), _END),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
        _END,
    )


class _Metadata(Request[_Question]):  # type: ignore[misc] # it has no types
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_Question]) -> _Question:
        asked = [(*_NO_ID, name, _NO_TAGS) for name in self._topics]
        return request_struct_class(asked, False, False, False, _NO_TAGS)


async def find_topic_ids(
    admin: AIOKafkaAdminClient, topics: list[str]
) -> tuple[str, dict[str, str]]:
    """Return the id of the cluster, and the ids of those of `topics` that exist, by name."""
    answer: dict[str, Any] = (await admin._send_request(_Metadata(topics))).to_object()  # noqa: SLF001
    ids = {
        topic["name"]: str(UUID(int=(topic["id_high"] % 2**64 << 64) | topic["id_low"] % 2**64))
        for topic in answer["topics"]
        if not topic["error_code"]
    }
    return answer["cluster_id"], ids
