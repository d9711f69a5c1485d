"""`trace`: what has ended is a span, always the same one; what has not is none."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from execstream import connect
from execstream.storage.story.spans import trace
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")


async def spans(db: asyncpg.Pool, run_id: str) -> list[dict[str, Any]]:
    """Those of a run that there is."""
    document = await trace(db, run_id)
    assert document is not None
    [resource] = document["resourceSpans"]
    [scope] = resource["scopeSpans"]
    return list(scope["spans"])


@pytest.mark.parametrize("to", ["http://ada:secret@127.0.0.1", "ftp://127.0.0.1", "nowhere"])
async def test_addresses_of_no_receiver(place: Installation, tmp_path: Path, to: str) -> None:
    """They end with a sentence, in which a password is hidden."""
    orders = Orders()
    await place.put([orders.create()])
    await place.drained()

    ended = await Program(tmp_path, place.settings.environment())(
        "trace", orders.run_id, "--to", to
    )

    assert (ended.code, ended.out) == (1, "")
    assert "is no address of a receiver" in ended.err
    assert "secret" not in ended.err


async def test_only_what_has_ended(place: Installation) -> None:
    """A run that goes on has the spans of its ended steps, with the ids that they keep."""
    orders = Orders()
    await place.put([orders.create(orders.node("a"), orders.node("b")), orders.start()])
    await place.put([orders.move_step("a", to) for to in ("RUNNING", "COMPLETED")])
    await place.put([orders.move_step("b", "RUNNING")])
    await place.drained()
    db = await connect(place.settings.postgres, place.settings.schema_)
    try:
        going_on = await spans(db, orders.run_id)
        await place.put([orders.move("TERMINATED")])
        await place.drained()
        ended = await spans(db, orders.run_id)
        unknown = await trace(db, orders.named("elsewhere"))
    finally:
        await db.close()

    [a] = going_on
    assert (a["name"], a["status"]) == ("execute_tool block", {"code": 1})
    root, *steps = ended
    assert a in steps
    assert {step["parentSpanId"] for step in steps} == {root["spanId"]}
    assert [step["status"]["code"] for step in steps] == [1, 2]
    assert root["status"] == {"code": 2, "message": "TERMINATED"}
    assert unknown is None
