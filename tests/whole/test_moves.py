"""All moves between two statuses, of runs and of steps, through Kafka into the rows."""

import itertools
import json
from dataclasses import dataclass
from typing import Any

import pytest

from execstream.streams.statuses import ExecutionStatus, allowed_from, is_allowed
from tests.comparing import assert_equal, reference_of
from tests.orders import WAY_TO, Order, Orders
from tests.worker import Installation, Worker

PAIRS = list(itertools.product(ExecutionStatus, ExecutionStatus))


@dataclass
class Attempt:
    """A run, or a step of one, brought to a status and then ordered to become another."""

    orders: Orders
    way: list[Order]
    last: Order

    @property
    def command_id(self) -> str:
        command: dict[str, Any] = json.loads(self.last.value or b"")
        return str(command["id"])


def attempt_of_run(was: str, to: str) -> Attempt:
    orders = Orders()
    way = [orders.create(), *map(orders.move, WAY_TO[was])]
    return Attempt(orders, way, orders.move(to, stats={"cost": 7}))


def attempt_of_step(was: str, to: str) -> Attempt:
    orders = Orders()
    way = [orders.create(), orders.give("node")]
    way += [orders.move_step("node", status) for status in WAY_TO[was]]
    return Attempt(orders, way, orders.move_step("node", to, stats={"cost": 7}))


Attempts = dict[tuple[str, ExecutionStatus, ExecutionStatus], Attempt]


@pytest.fixture(scope="module")
async def attempts(place: Installation, worker: Worker) -> Attempts:
    """All 98 of them, put in one go and committed."""
    made = {
        (kind, was, to): attempt(was, to)
        for kind, attempt in (("run", attempt_of_run), ("step", attempt_of_step))
        for was, to in PAIRS
    }
    assert worker.is_alive
    await place.put(order for one in made.values() for order in (*one.way, one.last))
    await place.drained()
    return made


TABLES = {
    "run": "select status, stats from graph_execution where id = $1",
    "step": "select status, stats from node_execution where graph_exec_id = $1",
}


@pytest.mark.parametrize(("was", "to"), PAIRS)
@pytest.mark.parametrize("kind", TABLES)
async def test_a_move_happens_as_the_table_says(
    place: Installation, attempts: Attempts, kind: str, was: ExecutionStatus, to: ExecutionStatus
) -> None:
    """An allowed one changes status and stats; any other nothing, and is kept with its reason."""
    attempt = attempts[kind, was, to]
    row = await place.db.fetchrow(TABLES[kind], attempt.orders.run_id)
    refusal = await place.db.fetchrow(
        "select reason, detail from refusal where command_id = $1", attempt.command_id
    )

    if is_allowed(was, to):
        assert (row["status"], json.loads(row["stats"])) == (to, {"cost": 7})
        assert refusal is None
        return
    assert (row["status"], row["stats"]) == (was, None)
    if to is ExecutionStatus.INCOMPLETE:
        assert refusal["reason"] == "not_a_target"
    else:
        assert refusal["reason"] == "illegal_transition"
        found = json.loads(refusal["detail"])
        assert found == {"found": was, "wanted": to, "allowed_from": allowed_from(to)}


@pytest.mark.usefixtures("attempts")
async def test_rows_journal_and_events_are_those_of_the_reference(place: Installation) -> None:
    """Every time stamp, entry and event of all these moves."""
    await assert_equal(place, await reference_of(place))
