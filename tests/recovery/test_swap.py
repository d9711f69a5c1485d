"""Swaps under load: the rebuilt schema takes the place of the live one, without any notice of
clients.
"""

import asyncio
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.recovery.replay.cut_over import exchange, lock
from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.replay.swap import swap
from execstream.storage.commit.consumer_offsets import OffsetCommit, claim
from execstream.storage.connections import READ, REPLAY, connection
from execstream.storage.schema.migrate import migrate
from execstream.streams.topics import COMMANDS, EVENTS
from execstream.workload.simulation import load_graphs
from tests.agents.tallied import counted, differences
from tests.comparing import assert_equal, reference_of
from tests.faults.feeding import Feeder, small_records
from tests.recovery.lived import (
    FROM_TOPICS,
    GRAPHS,
    drop,
    replayed,
    simulated,
    tallying,
    untold,
)
from tests.worker import Installation, installation, until

RATE = 400  # commands per second
SESSION = 6.0  # seconds; the least a broker allows


_ALERT = """
insert into alert (subject, kind, severity, figures, closed_at)
values ('a', 'stuck_run', 'warning', '{}', now()) returning id
"""


@pytest.mark.slow
async def test_a_swap_under_load_loses_nothing(stack: Addresses, tmp_path: Path) -> None:
    """Commands that come before, during and after a swap have their effect once; workers go on in
    the rebuilt schema without a restart, and events, totals and rows are those of the reference.
    Rows that are not folds of the log are there as before.
    """
    async with (
        installation(stack, tmp_path) as place,
        place.worker() as worker,
        tallying(place) as tally,
    ):
        feeder = Feeder(
            place.settings.kafka,
            place.topic(COMMANDS.name),
            small_records(load_graphs(GRAPHS), seed=3),
            RATE,
        )
        schema = f"{place.settings.schema_}_new"
        feeder.begin()
        await until(lambda: _applied(place, 2 * RATE))
        await place.db.execute("insert into block values ('b', 'Block', 'STANDARD')")
        first = await place.db.fetchval(_ALERT)
        report = await replayed(place, schema, swapping=True)
        assert report.swapped
        at = sum(feeder.ends.values())
        await until(lambda: _applied(place, at + 2 * RATE))
        await feeder.stop()
        await place.drained()
        await counted(place)
        place.puts = [(one.partition, one.offset) for one in await place.commands()]
        await assert_equal(place, await reference_of(place))
        assert await differences(place) == []
        assert await place.db.fetchval("select name from block where id = 'b'") == "Block"
        assert await place.db.fetchval(_ALERT) > first
        for one in (worker, tally):
            assert one.said("fenced")
            assert one.said("reclaims")
        await drop(place.db, schema)


async def test_a_lost_database_comes_back_from_the_topics(stack: Addresses, tmp_path: Path) -> None:
    """When all tables are gone, migrations and a replay with a swap bring everything back; workers
    that start then go on behind it, and nothing is counted or published twice.
    """
    async with installation(stack, tmp_path) as place:
        async with place.worker(), tallying(place):
            await place.put(simulated(1_000, seed=4))
            await place.drained()
            await counted(place)
        await drop(place.db, place.settings.schema_)
        await migrate(place.settings.postgres, place.settings.schema_)
        schema = f"{place.settings.schema_}_new"
        report = await replayed(place, schema, swapping=True)
        assert (report.proof, report.swapped) == (None, True)
        async with place.worker(), tallying(place):
            await place.put(simulated(300, seed=5))
            await place.drained()
            await counted(place)
            await assert_equal(place, await reference_of(place))
            assert await differences(place) == []
        await drop(place.db, schema)


async def _applied(place: Installation, count: int) -> bool:
    found = await place.db.fetchval(
        "select sum(next_offset) from consumer_offset where consumer = 'apply'"
    )
    return bool((found or 0) >= count)


async def test_commands_applied_before_the_lock_are_in_the_new_schema(
    stack: Addresses, tmp_path: Path
) -> None:
    """Those that came after the rebuild: it goes on to the positions that the lock holds."""
    async with installation(stack, tmp_path) as place:
        live, schema = place.settings.schema_, f"{place.settings.schema_}_new"
        async with connection(place.settings.postgres, schema, REPLAY) as opened:
            async with place.worker():
                await place.put(simulated(100, seed=7))
                await place.drained()
                rebuild = await Rebuild.prepare(place.settings, schema, FROM_TOPICS, opened)
                await rebuild.run(untold)
                await place.put(simulated(100, seed=8))
                await place.drained()
            before = await place.db.fetch(_POSITIONS)
            await swap(rebuild)
        async with connection(place.settings.postgres, live, READ) as swapped:
            assert await swapped.fetch(_POSITIONS) == before
        await assert_equal(place, await reference_of(place))
        await drop(place.db, schema)


_POSITIONS = """
select partition, next_offset, applied, duplicate, refused, dead
  from consumer_offset where consumer = 'apply' order by partition
"""


async def test_whatever_waited_for_a_swap_owns_nothing(stack: Addresses, tmp_path: Path) -> None:
    """A commit is fenced off in the schema that was. A claim raises an epoch there, and no later
    owner in the live one gets the same: their commits would take each other's for their own."""
    async with installation(stack, tmp_path) as place:
        async with place.worker():
            await place.put(simulated(100, seed=6))
            await place.drained()
        live, schema = place.settings.schema_, f"{place.settings.schema_}_new"
        postgres, topic = place.settings.postgres, place.topic(COMMANDS.name)
        await replayed(place, schema)
        earliest = dict.fromkeys(range(COMMANDS.partitions), 0)
        for _ in range(5):  # more take-overs than the replay has made
            [claimed, owned, *_] = await claim(place.db, "apply", topic, earliest)
        at = owned["next_offset"]
        move = OffsetCommit(1, at, owned["epoch"], at + 1, -1, -1).row()
        async with (
            connection(postgres, live, READ) as claiming,
            connection(postgres, live, READ) as committing,
            connection(postgres, "public", REPLAY) as swapping,
        ):
            async with swapping.transaction():
                await lock(swapping, live, schema, topic)
                commit = asyncio.ensure_future(committing.fetchval(_ADVANCE, topic, [move]))
                late = asyncio.ensure_future(claim(claiming, "apply", topic, {0: 0}))
                for one in (claiming, committing):
                    await until(partial(place.db.fetchval, _WAITS, one.get_server_pid()))
                await exchange(swapping, live, schema, place.topic(EVENTS.name), earliest)
            with pytest.raises(asyncpg.PostgresError, match="fenced"):
                await commit
            [zombie] = await late
        waited = OffsetCommit(0, zombie["next_offset"], zombie["epoch"], 1 << 40, -1, -1).row()
        with pytest.raises(asyncpg.PostgresError, match="fenced"):
            await place.db.fetchval(_ADVANCE, topic, [waited])
        for _ in range(3):
            [row, *_] = await claim(place.db, "apply", topic, earliest)
            assert row["epoch"] != zombie["epoch"]
            assert row["epoch"] > claimed["epoch"] + 1  # also before these claims
        await drop(place.db, schema)


_ADVANCE = "select advance('apply', $1, $2)"
_WAITS = "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1"
