"""Names of channels, and the messages on them."""

import json
from typing import Any

import pytest
from msgspec import Raw

from execstream.storage.models.messages import NodeExecutionEvent
from execstream.storage.redis.channels import (
    NodeUpdate,
    encode_reply,
    encode_update,
    execution_channel,
    reply_channel,
)
from execstream.streams.outcomes import (
    Applied,
    Dead,
    DeadReason,
    Duplicate,
    Outcome,
    Refusal,
    Refused,
)
from execstream.streams.statuses import ExecutionStatus

SMALL = 4_096  # bytes


def update(**fields: Any) -> NodeUpdate:
    about: dict[str, Any] = {
        "seq": 7,
        "command_id": "00000000-0000-0000-0000-000000000001",
        "source": (3, 40, 0),
        "user_id": "ada",
        "graph_id": "graph",
        "graph_version": 2,
        "graph_exec_id": "00000000-0000-0000-0000-000000000002",
        "node_exec_id": "00000000-0000-0000-0000-000000000003",
        "node_id": "node",
        "block_id": "block",
        "status": ExecutionStatus.RUNNING,
        "input_data": {},
        "output_data": {},
        "add_time": "2026-03-01T06:30:00Z",
        "queue_time": None,
        "start_time": None,
        "end_time": None,
    }
    return NodeUpdate(**about | fields)


def test_channels_are_named_after_whom_they_concern() -> None:
    assert execution_channel("p:", "ada", "graph", "run") == "p:execution_event/ada/graph/run"
    assert execution_channel("", "ada", "*", "*") == "execution_event/ada/*/*"
    assert reply_channel("p:", "me") == "p:execution_reply/me"


def test_a_message_carries_payloads_as_they_came() -> None:
    """Values are forwarded byte for byte, and nothing is marked as missing."""
    message = encode_update(update(output_data={"x": [Raw(b"1.50"), Raw(b'{"a": 1e2}')]}))
    assert message.startswith(b'{"payload":{"event_type":"node_execution_update"')
    assert b'"output_data":{"x":[1.50,{"a": 1e2}]}' in message
    assert b"truncated" not in message


@pytest.mark.parametrize(
    "fields",
    [
        {"input_data": {"x": Raw(b'"' + b"y" * 9_000 + b'"')}},
        {"input_data": Raw(b'{"x":[' + b"1," * 9_000 + b"1]}")},
        {"output_data": {"x": [Raw(b'"' + b"\\n" * 99 + b'"')] * 100}},
        {"output_data": {f"pin {number}": [Raw(b"1")] for number in range(1_000)}},
    ],
)
def test_a_message_over_the_limit_is_shortened(fields: dict[str, Any]) -> None:
    """It fits, has `truncated`, keeps its identity, and is read as the event it is."""
    message = encode_update(update(**fields), SMALL)
    assert len(message) <= SMALL
    event = NodeExecutionEvent.model_validate(json.loads(message)["payload"])
    assert event.truncated
    assert event.graph_exec_id == "00000000-0000-0000-0000-000000000002"
    assert (event.seq, event.source) == (7, (3, 40, 0))
    assert "left out" in message.decode()


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Applied(first=4, last=6), {"outcome": "applied", "seq": [4, 6]}),
        (Duplicate(Applied(first=4, last=4)), {"outcome": "duplicate", "seq": [4, 4]}),
        (
            Refused(Refusal.DELETED),
            {"outcome": "refused", "reason": "deleted", "detail": {}},
        ),
        (
            Dead(DeadReason.NOT_JSON, {"message": "x"}),
            {"outcome": "dead", "reason": "not_json", "detail": {"message": "x"}},
        ),
    ],
)
def test_a_reply_tells_the_outcome(outcome: Outcome, told: dict[str, Any]) -> None:
    assert json.loads(encode_reply("c", outcome)) == {"command_id": "c"} | told
