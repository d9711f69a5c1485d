"""Yielding of a rebuild's processes to the live side."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from execstream.recovery.replay.throttle import REST, SMALL, Cores, Throttle
from tests.worker import Installation

WAITS = 0.3  # seconds that nothing may have happened in
PATIENCE = 10.0  # seconds
TOPIC = "commands"
MOVE = """
insert into consumer_offset (consumer, topic, partition, next_offset, epoch, base)
values ('apply', $1, 0, 1, 0, 0)
on conflict (consumer, topic, partition) do update set next_offset = consumer_offset.next_offset + 1
"""
END_SESSION = """
select count(pg_terminate_backend(pid)) from pg_locks
 where locktype = 'advisory' and granted
   and database = (select oid from pg_database where datname = current_database())
   and objid = (hashtext($1)::bigint & 4294967295)::oid
"""


@pytest.fixture
async def pair(place: Installation, tmp_path: Path) -> AsyncIterator[list[Throttle]]:
    """Two processes' turns, each of which has had one, where cores are always short."""
    settings = place.settings
    no_cores = Cores(tmp_path / "nothing")
    both = [Throttle(settings, settings.schema_, TOPIC, no_cores) for _ in range(2)]
    await place.db.execute(MOVE, TOPIC)
    for throttle in both:
        async with throttle.turn():
            pass
    yield both
    for throttle in both:
        await throttle.close()


async def _hold(throttle: Throttle, has_begun: asyncio.Event, may_end: asyncio.Event) -> None:
    async with throttle.turn():
        has_begun.set()
        await may_end.wait()


async def test_while_the_live_side_goes_on_they_take_turns(
    place: Installation, pair: list[Throttle]
) -> None:
    """Small ones: the other's begins when the first one's has ended, and its rest."""
    now = asyncio.get_running_loop().time
    assert pair[0].limit(2 * SMALL) == 2 * SMALL
    await place.db.execute(MOVE, TOPIC)
    begun, may_end = [asyncio.Event(), asyncio.Event()], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(pair[0], begun[0], may_end))
        await asyncio.wait_for(begun[0].wait(), PATIENCE)
        group.create_task(_hold(pair[1], begun[1], may_end))
        await asyncio.sleep(WAITS)
        assert not begun[1].is_set()
        ended = now()
        may_end.set()
        await asyncio.wait_for(begun[1].wait(), PATIENCE)
        assert now() - ended >= REST * WAITS
    assert [throttle.limit(2 * SMALL) for throttle in pair] == [SMALL, SMALL]


async def test_while_it_stands_still_nobody_waits(pair: list[Throttle]) -> None:
    """Both are at work at once."""
    async with AsyncExitStack() as at_work, asyncio.timeout(PATIENCE):
        for throttle in pair:
            await at_work.enter_async_context(throttle.turn())


async def test_where_there_are_cores_nobody_waits(place: Installation, tmp_path: Path) -> None:
    """However fast the live side goes on."""
    told = tmp_path / "schedstat"
    told.write_text("1000 0 1\n")
    settings = place.settings
    async with AsyncExitStack() as at_work, asyncio.timeout(PATIENCE):
        for _ in range(2):
            throttle = Throttle(settings, settings.schema_, TOPIC, Cores(told))
            at_work.push_async_callback(throttle.close)
            async with throttle.turn():
                pass
            await place.db.execute(MOVE, TOPIC)
            await at_work.enter_async_context(throttle.turn())


async def test_the_turn_of_a_process_that_died_ends(
    place: Installation, pair: list[Throttle]
) -> None:
    """Its connection is gone, and so the other begins."""
    await place.db.execute(MOVE, TOPIC)
    begun, may_end = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(pair[0], begun, may_end))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        name = f"execstream.replay {place.settings.schema_}"
        assert await place.db.fetchval(END_SESSION, name) == 1
        async with asyncio.timeout(PATIENCE), pair[1].turn():
            may_end.set()


def test_cores_are_short_when_they_are_waited_for(tmp_path: Path) -> None:
    """The share is that of the time since the last question, not since the beginning."""
    told = tmp_path / "schedstat"
    told.write_text("1000 0 1\n")
    cores = Cores(told)

    told.write_text("2000 200 3\n")
    assert cores.are_short()
    told.write_text("12000 210 9\n")
    assert not cores.are_short()


def test_cores_that_nobody_tells_of_are_short(tmp_path: Path) -> None:
    """Systems other than Linux do not report it."""
    assert Cores(tmp_path / "nothing").are_short()
