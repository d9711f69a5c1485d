"""Each runbook of docs/recovery.md, by its own commands."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.storage.schema import tables
from execstream.storage.schema.tables import Origin
from execstream.streams.topics import BLOCK_STATS, CATALOGUE, COMMANDS, TOPICS
from tests.agents.tallied import counted
from tests.comparing import assert_rows_equal, reference_of
from tests.orders import Order, Orders
from tests.recovery.lived import delete_before, simulated, tallying
from tests.recovery.runbooks import Shell, administer, own_database, steps_of
from tests.recovery.test_offsets import lost_and_made_again
from tests.worker import Installation, installation, until

_OF_COMMANDS = (Origin.APPLIED, Origin.REJECTED, Origin.TOTAL)
TABLES = ["block", *(table.name for table in tables.TABLES if table.origin in _OF_COMMANDS)]
# Old events need not be in the topic any more, so its end is no evidence.
_IS_COUNTED = """
select not exists (
    select from (select source_partition as p, max(source_offset) as o from journal group by 1) said
      left join consumer_offset c on c.consumer = 'tally' and c.partition = said.p
     where coalesce(c.published_offset, -1) < said.o)
"""
_BLOCK = b'{"type": "block.define", "block_id": "b", "name": "Block", "block_type": "STANDARD"}'


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Addresses]:
    """The servers, with a database of a test's own."""
    async with own_database(stack) as own:
        yield own


@pytest.fixture
async def place(database: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics and a database of a test's own."""
    async with installation(database, tmp_path) as own:
        yield own


@pytest.fixture
def shell(place: Installation, tmp_path: Path) -> Shell:
    """A shell with the settings of `place`."""
    return Shell(tmp_path, place.settings)


@asynccontextmanager
async def working(place: Installation) -> AsyncIterator[None]:
    """Workers of all roles; at the end everything is applied and counted."""
    workers = [await place.start_worker(role) for role in ("apply", "tally", "bridge")]
    try:
        yield
        await place.drained()
        await until(lambda: place.db.fetchval(_IS_COUNTED))
        await until(lambda: _block_stats_are_there(place))
        assert all(one.is_alive for one in workers)
        await asyncio.gather(*(one.stop() for one in workers))
    finally:
        await asyncio.gather(*(one.kill() for one in workers if one.is_alive))


async def _block_stats_are_there(place: Installation) -> bool:
    """Return whether the topic has as many values as there are totals, or more."""
    ends = await place._ends(BLOCK_STATS.name)
    return bool(sum(ends.values()) >= await place.db.fetchval("select count(*) from block_total"))


async def rows_of(db: asyncpg.Pool) -> dict[str, list[str]]:
    """Everything there is, by table, but for the names of topics."""
    found = {}
    for table in TABLES:
        rows = await db.fetch(f"select (to_jsonb(t) - 'topic')::text from {table} t order by 1")
        found[table] = [row[0] for row in rows]
    return found


async def lived(place: Installation, count: int = 300) -> dict[str, list[str]]:
    """Commands of many kinds, `count` of them simulated, applied and counted; their rows."""
    await place.producer.send_and_wait(place.topic(CATALOGUE.name), _BLOCK, b"block:b")
    async with working(place):
        await place.put([*simulated(count, seed=7), *_some_of_all()])
        await until(lambda: place.db.fetchval("select count(*) from block"))
    rows = await rows_of(place.db)
    assert [table for table in TABLES if not rows[table]] == []
    return rows


def _some_of_all() -> list[Order]:
    """Rows that simulated runs need not have: a key-value, a failure with a cost, a refusal, a
    dead letter."""
    run = Orders()
    return [
        *(run.create(run.node("a")), run.start(), run.move_step("a", "RUNNING")),
        *(run.move_step("a", "FAILED", stats={"error": "boom", "cost": 1}), run.move("COMPLETED")),
        *(run.start(), run.keep(), run.raw(b"bad")),
    ]


async def goes_on(place: Installation) -> None:
    """New commands have their effect."""
    run = Orders()
    await place.put([run.create(run.node("a")), run.start()])
    await place.drained()
    found = await place.db.fetchval("select status from graph_execution where id = $1", run.run_id)
    assert found == "RUNNING"


async def test_lost_database(
    stack: Addresses, database: Addresses, place: Installation, shell: Shell
) -> None:
    """Dropped, with the topics kept, it comes back with the same rows, and workers go on."""
    mend, check = steps_of("Lost database")
    rows = await lived(place)
    name = database.postgres_dsn.rpartition("/")[2]
    await administer(stack, f"drop database {name} with (force)")

    await shell.run(mend, ADMIN_DSN=stack.postgres_dsn, DATABASE=name)

    await place.db.expire_connections()
    async with working(place):
        await until(lambda: place.db.fetchval("select count(*) from block"))
        assert await rows_of(place.db) == rows
        await shell.run(check)
        await goes_on(place)


@pytest.mark.slow
async def test_lost_database_older_than_the_topic(
    stack: Addresses, database: Addresses, place: Installation, shell: Shell
) -> None:
    """Runs that began within the topic's retention come back, and workers go on."""
    look, mend, check = steps_of("Lost database, older than the topic")
    lost, left = Orders(), Orders()
    on_three = [
        order._replace(partition=3) for order in (lost.create(), left.create(), left.start())
    ]
    async with working(place):
        await place.put(on_three)
    await delete_before(place, {3: 1})
    name = database.postgres_dsn.rpartition("/")[2]
    await administer(stack, f"drop database {name} with (force)")

    printed = await shell.run(look, ADMIN_DSN=stack.postgres_dsn, DATABASE=name)
    commands = re.sub("--from .*", re.findall("--from [0-9:,]+", printed)[0], mend.commands)
    await shell.run(replace(mend, commands=commands))

    await place.db.expire_connections()
    async with working(place):
        rows = await place.db.fetch("select id, status from graph_execution")
        assert [(str(row["id"]), row["status"]) for row in rows] == [(left.run_id, "RUNNING")]
        await shell.run(check)
        await goes_on(place)


async def test_lost_and_recreated_topics(place: Installation, shell: Shell) -> None:
    """With the database kept its rows are the same, and workers go on: when all topics are gone,
    and when one was made again, even after the others."""
    mend_all, check_all = steps_of("Lost topics")
    mend_one, check_one = steps_of("Recreated topic")
    rows = await lived(place)
    await lost_and_made_again(place, *(topic.name for topic in TOPICS))
    await shell.run(mend_all)
    async with working(place):
        assert await rows_of(place.db) == rows
        await goes_on(place)
    await shell.run(check_all)

    rows = await rows_of(place.db)
    await lost_and_made_again(place, COMMANDS.name)
    await shell.run(mend_one)
    async with working(place):
        assert await rows_of(place.db) == rows
        await goes_on(place)
    await shell.run(check_one)


@pytest.mark.slow
async def test_wrong_rule(place: Installation, shell: Shell) -> None:
    """The effects of a wrong rule are undone everywhere in Postgres."""
    look, mend, check = steps_of("Wrong rule deployed")
    run = Orders()
    wrong = await place.start_worker("apply", program="tests.recovery.wrong_rule")
    async with tallying(place):
        await place.put([run.create(run.node("a")), run.start(), run.move_step("a", "COMPLETED")])
        await place.drained()
        await place.events()
        await counted(place)
        await wrong.stop()
    assert await place.db.fetchval("select status from node_execution") == "COMPLETED"

    assert run.named("a") in await shell.run(look)
    assert await place.db.fetchval("select status from node_execution") == "COMPLETED"
    await shell.run(mend)

    await place.db.expire_connections()
    async with working(place):
        await assert_rows_equal(place.db, await reference_of(place))
        assert await place.db.fetchval("select sum(ended) from block_total") == 0
        await shell.run(check)
        await goes_on(place)


async def test_poisoned_topic(place: Installation, shell: Shell) -> None:
    """Records that are not commands hold up no partition, and are corrected."""
    look, preview, mend = steps_of("Poisoned topic")
    run, other = Orders(), Orders()
    async with working(place):
        await place.put([run.create(), run.order("graph.begin"), other.create(), other.start()])
        await place.drained()
        assert "unknown_type" in await shell.run(look)
        await shell.run(preview)
        await shell.run(mend)
        statuses = await place.db.fetch("select status from graph_execution")
        assert [row["status"] for row in statuses] == ["RUNNING", "RUNNING"]


@pytest.mark.slow
async def test_offset_beyond_retention(place: Installation, shell: Shell) -> None:
    """Workers that were stopped for too long go on with the rest of the topic."""
    look, skip, check = steps_of("Offset beyond retention")
    async with working(place):
        await goes_on(place)
    lost, left = Orders(), Orders()
    on_three: list[Order] = [
        order._replace(partition=3) for order in (lost.create(), left.create(), left.start())
    ]
    *_, (_, begin), _ = await place.put(on_three)
    await delete_before(place, {3: begin})

    assert '"below"' in await shell.run(look)
    await shell.run(skip)

    async with working(place):
        await place.drained()
        found = {str(row["id"]) for row in await place.db.fetch("select id from graph_execution")}
        assert (lost.run_id in found, left.run_id in found) == (False, True)
    await shell.run(check)


async def test_region_move(place: Installation, stack: Addresses, shell: Shell) -> None:
    """The database moves, the topics begin anew, and workers there go on with the same rows."""
    copy, mend, check = steps_of("Region move")
    rows = await lived(place)
    async with own_database(stack) as there:
        await shell.run(copy, NEW_DSN=there.postgres_dsn)
        await lost_and_made_again(place, *(topic.name for topic in TOPICS))
        new = place.settings_with(
            postgres_dsn=there.postgres_dsn,
            redis_prefix=f"{place.settings.redis_prefix}new:",
            group_prefix=f"{place.settings.group_prefix}new",
        )
        async with asyncpg.create_pool(
            there.postgres_dsn, min_size=1, server_settings={"search_path": new.schema_}
        ) as db:
            moved = Installation(new, db, place.folder, place.producer, place.reader)
            await Shell(shell.folder, new).run(mend)
            async with working(moved):
                assert await rows_of(db) == rows
                await goes_on(moved)
            await Shell(shell.folder, new).run(check)
