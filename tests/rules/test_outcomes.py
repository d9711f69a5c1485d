"""The reply to a sender."""

import json

import pytest

from execstream.streams.outcomes import (
    Applied,
    Dead,
    DeadReason,
    Duplicate,
    Outcome,
    Refusal,
    Refused,
    detail_json,
    reply,
)

ID = "01900000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Applied(), {"outcome": "applied"}),
        (Applied(3, 5), {"outcome": "applied", "seq": [3, 5]}),
        (Applied(3, 3, "s"), {"outcome": "applied", "seq": [3, 3], "node_exec_id": "s"}),
        (
            Applied(3, 4, None, 2, {"s": None}),
            {"outcome": "applied", "seq": [3, 4], "updated": 2, "detail": {"skipped": {"s": None}}},
        ),
        (Duplicate(Applied(3, 5)), {"outcome": "duplicate", "seq": [3, 5]}),
        (
            Refused(Refusal.DELETED),
            {"outcome": "refused", "reason": "deleted", "detail": {}},
        ),
        (
            Dead(DeadReason.NOT_JSON, {"message": "m"}),
            {"outcome": "dead", "reason": "not_json", "detail": {"message": "m"}},
        ),
    ],
)
def test_a_reply(outcome: Outcome, told: dict[str, object]) -> None:
    """It has the outcome in the contract's words; a duplicate repeats the first one."""
    assert reply(ID, outcome) == {"command_id": ID} | told


def test_details_are_clean() -> None:
    """They may quote text of the sender."""
    assert json.loads(detail_json({"a\x00": "b\x7f\n"})) == {"a": "b\n"}
