"""One run created on two partitions at once: one of them has it, and nothing is done twice."""

import random
from collections.abc import Sequence

import pytest

from execstream.streams.topics import COMMANDS
from tests.comparing import assert_equal, reference_of
from tests.orders import Order, Orders
from tests.worker import Installation, Worker, until

RUNS = 60
RACES = 20  # at most; usually the workers meet in one of the first


def _rivals(homes: Sequence[set[int]]) -> list[list[Order]]:
    """The same run sent by one producer per set of partitions, to one partition of each."""
    run_id = Orders().run_id
    sides = []
    for number, home in enumerate(homes):
        partition = random.choice([*home])
        life = _life(Orders(run_id, sent=100 * number))
        sides.append([one._replace(partition=partition) for one in life])
    return sides


def _life(orders: Orders) -> list[Order]:
    return [
        orders.create(orders.node("n", inputs={"a": orders.sent})),
        orders.start(),
        orders.emit("n", data=orders.sent),
        orders.move("COMPLETED", stats={"from": orders.sent}),
    ]


async def _race(place: Installation, homes: Sequence[set[int]]) -> None:
    """Put both sides of some runs at once, and check all there is."""
    rivals = [_rivals(homes) for _ in range(RUNS)]
    begin = len(place.puts)

    await place.put(one for pair in rivals for side in zip(*pair, strict=True) for one in side)
    await place.drained()

    winners = {
        str(row["id"]): row["source_partition"]
        for row in await place.db.fetch("select id, source_partition from graph_execution")
    }
    # The reference gets each winner first.
    lost = {
        (record.partition, record.offset)
        for record in await place.commands()
        if winners[record.key.decode()] != record.partition
    }
    place.puts[begin:] = sorted(place.puts[begin:], key=lambda at: at in lost)
    await assert_equal(place, await reference_of(place))
    dead = await place.db.fetch(
        "select key, count(*) from dead_letter where reason = 'wrong_partition' group by 1"
    )
    assert {row["key"].decode(): row["count"] for row in dead} == dict.fromkeys(winners, 4)


async def test_under_one_worker(place: Installation, worker: Worker) -> None:
    """The one that was folded first has the run, the other's commands are dead letters."""
    await _race(place, [{0, 2, 4, 6}, {1, 3, 5, 7}])
    assert worker.is_alive


async def test_under_two_workers(place: Installation, worker: Worker) -> None:
    """The first to commit has it; the other folds its batch again and finds it taken."""
    async with place.worker() as other:

        async def have_shared() -> bool:
            shares = [place.partitions_of(one) for one in (worker, other)]
            return sorted(map(len, shares)) == [COMMANDS.partitions // 2] * 2

        await until(have_shared)
        homes = [place.partitions_of(one) for one in (worker, other)]
        for _ in range(RACES):
            await _race(place, homes)
            if worker.said("folded_again") or other.said("folded_again"):
                return
        pytest.fail(f"The two workers did not meet on a run in {RACES} races.")
