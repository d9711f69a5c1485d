"""A state directory of the old release with records that the new release would judge otherwise."""

import json
from pathlib import Path

import pytest

from execstream.streams.growth import MAX_PINS
from execstream.workload.simulation import Sent
from tests.orders import Order, Orders
from tests.upgrade.old_release import PORTS, unpack
from tests.upgrade.running_stack import connected, emit, up, wait_for_all, wait_for_apply
from tests.whole.program import Program

pytestmark = [pytest.mark.upgrade, pytest.mark.slow, pytest.mark.timeout(400)]

PINS = {f"pin {number}": number for number in range(MAX_PINS * 3 // 2)}
EARLIER = "2 records that keep an earlier judgement, which today's rules would not make"
OUTCOMES = """
select sum(applied)::int, sum(dead)::int from consumer_offset where consumer = 'apply'
"""


async def test_judgements_of_the_old_release_stay(tmp_path: Path) -> None:
    """A creation with more pins than today's bound stays applied, and a time with nine digits stays
    a dead letter: `verify --all` and `replay --into` find no difference and name both."""
    old = unpack(tmp_path / "old")
    await old.check_imports()
    wide, late = Orders(), Orders()
    orders = [
        wide.create(wide.node("n", inputs=PINS)),
        late.create(at="2026-03-01T06:30:00.123456789Z"),
    ]
    async with (
        up(old.program, "--no-workers", "--no-serve") as stack,
        connected(stack, old.home) as (place, _),
    ):
        await stack.ready()
        async with old.worker("apply"):
            assert await emit(old.program, map(_sent, orders)) == len(orders)
            await wait_for_apply(place)
        assert tuple(await place.db.fetchrow(OUTCOMES)) == (1, 1)
    folder = tmp_path / "new"
    folder.mkdir()
    (old.home / ".execstream").rename(folder / ".execstream")
    program = Program(folder, PORTS)
    async with up(program) as stack, connected(stack, folder) as (place, _):
        await stack.ready()
        assert await emit(program, [_sent(wide.start())]) == 1
        await wait_for_all(place)
        assert tuple(await place.db.fetchrow(OUTCOMES)) == (2, 1)

        verified = (await program("verify", "--all", "--json")).json()
        assert verified["differences"] == []
        [kept] = verified["left_out"]
        assert kept.startswith(EARLIER)
        assert kept.count(" at ") == 2

        replayed = await program("replay", "--into", "rebuilt", "--json")
        assert replayed.code == 0, replayed.err
        report = json.loads(replayed.out.splitlines()[-1])
        assert (report["equal"], report["differences"]) == (True, [])
        assert report["left_out"] == [f"{EARLIER}: 1 dead letters; 1 commands"]


def _sent(order: Order) -> Sent:
    assert order.key is not None
    assert order.value is not None
    return Sent(order.key, order.value)
