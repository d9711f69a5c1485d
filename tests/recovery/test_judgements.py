"""Records that were judged by earlier rules keep their judgement, in verifications and replays."""

from collections.abc import AsyncIterator

import pytest

from execstream.devstack import Addresses
from execstream.recovery.replay.replay_into import Report as Replay
from execstream.recovery.verify.report import Report
from execstream.recovery.verify.verify import Asked, verify
from execstream.storage.log.dead_letters import RecordPosition
from execstream.streams.growth import MAX_PINS
from execstream.streams.storable_numbers import FREE_EXPONENTS
from tests.agents.tallied import counted
from tests.orders import Order, Orders, replaced
from tests.recovery.lived import drop, replayed, tallying, untold
from tests.worker import Installation, installation

NINE_DIGITS = "2026-03-01T06:30:00.123456789Z"
PINS = {f"pin {number}": number for number in range(MAX_PINS * 3 // 2)}
EARLIER = "records that keep an earlier judgement, which today's rules would not make"


class Judged:
    """Records that went through a worker of earlier rules, and then through one of today's.

    Attributes:
        applied: where commands are that today's rules bury, and were not buried.
        dead: where dead letters are that today's rules would apply.
    """

    def __init__(self, place: Installation) -> None:
        self.place = place
        self.applied: list[RecordPosition] = []
        self.dead: list[RecordPosition] = []

    async def live(self) -> None:
        wide, writer = Orders(), Orders(user_id="eve")
        created = wide.create(wide.node("n", inputs=PINS))
        numbers = wide.order("graph.update", stats="@")
        grown = b"[" + b",".join([b"1e100000"] * (FREE_EXPONENTS // 100_000 + 2)) + b"]"
        numbers = numbers._replace(
            value=(numbers.value or b"").replace(b'"@"', b'{"a":%s}' % grown)
        )
        late = Orders()
        async with self.place.worker(program="tests.recovery.earlier_rules"):
            self.applied += await self.place.put([created, numbers])
            self.applied += await self.place.put([created])  # a duplicate
            self.dead += await self.place.put(
                [late.create(at=NINE_DIGITS), writer.keep("k", at=NINE_DIGITS)]
            )
            # A user without other rows may have been forgotten.
            await self.place.put([wide.start(), late.start(), writer.keep("other")])
            await self.place.drained()
        async with self.place.worker(), tallying(self.place):
            await self.place.put([*self._of_today(), wide.move_step("n", "RUNNING")])
            await self.place.drained()
            await counted(self.place)

    def _of_today(self) -> list[Order]:
        wide, late = Orders(), Orders()
        created = wide.create(wide.node("n", inputs=PINS))
        return [created, late.create(at=NINE_DIGITS), replaced(created, id="no UUID")]


@pytest.fixture(scope="module")
async def judged(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Judged]:
    async with installation(stack, tmp_path_factory.mktemp("logs")) as place:
        made = Judged(place)
        await made.live()
        yield made


async def verified(place: Installation) -> Report:
    return await verify(place.settings, Asked(), untold)


def named(places: list[RecordPosition]) -> str:
    return ", ".join(f"{partition}:{offset}" for partition, offset in sorted(places))


async def test_a_verification_names_them(judged: Judged) -> None:
    """Nothing differs; each is named by partition and offset. Today's own are not."""
    outcomes = await judged.place.db.fetchrow(
        "select sum(applied), sum(duplicate), sum(refused), sum(dead) from consumer_offset"
        " where consumer = 'apply'"
    )
    assert tuple(outcomes) == (6, 1, 1, 4)

    report = await verified(judged.place)

    assert report.differences == []
    dead, applied = named(judged.dead), named(judged.applied)
    assert report.left_out == [f"5 {EARLIER}: 2 dead letters at {dead}; 3 commands at {applied}"]


async def test_a_judgement_that_was_taken_away_is_found(judged: Judged) -> None:
    """Without its dead letter such a record must have had an effect."""
    db = judged.place.db
    await db.execute("create table kept as select * from dead_letter")
    for place in judged.dead:
        await db.execute('delete from dead_letter where partition = $1 and "offset" = $2', *place)
    try:
        found = (await verified(judged.place)).differences
    finally:
        await db.execute("insert into dead_letter select * from kept on conflict do nothing")
        await db.execute("drop table kept")
    assert {"journal", "kv_journal"} <= {one.kind for one in found}
    assert (await verified(judged.place)).differences == []


async def test_a_rebuild_keeps_them(judged: Judged) -> None:
    """It has the same rows, counts and totals, reports the number of kept ones, and takes the place
    of the live schema; which is then verified again.
    """
    place = judged.place
    schema = f"{place.settings.schema_}_rebuilt"
    try:
        report: Replay = await replayed(place, schema, swapping=True)
    finally:
        await drop(place.db, schema)
    assert report.proof is not None
    assert (report.proof.differences, report.proof.differing) == ([], {})
    assert report.swapped
    assert report.left_out == [f"5 {EARLIER}: 2 dead letters; 3 commands"]
    assert len((await verified(place)).left_out) == 1
    assert (await verified(place)).is_good
