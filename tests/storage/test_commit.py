"""The commit of a batch: behind the fence, as a whole, and only once."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.storage.commit.consumer_offsets import (
    CREATED_ELSEWHERE,
    FENCED,
    OffsetCommit,
    claim,
    save_published,
)
from execstream.storage.commit.write_set import WriteSet, commit
from execstream.storage.connections import Session, sqlstate
from execstream.storage.schema.day_partitions import ensure_day
from execstream.storage.schema.migrate import migrate
from execstream.streams.decoding import decode
from execstream.streams.fold import fold
from execstream.streams.outcomes import Dead
from tests.names import Names
from tests.orders import DAWN, Order, Orders
from tests.worker import until

TOPIC = "commands"
WAITS = "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1"


@pytest.fixture
async def connection(stack: Addresses, names: Names) -> AsyncIterator[asyncpg.Connection]:
    """A writing connection to empty tables, with claims on partitions 0 and 1."""
    await migrate(stack.postgres_dsn, names.schema)
    session = Session(stack.postgres_dsn, names.schema)
    await claim(await session.get(), "apply", TOPIC, {0: 0, 1: 0})
    yield await session.get()
    await session.close()


def effects_of(order: Order, partition: int = 0) -> WriteSet:
    """The effects of a creation."""
    command = decode(order.key, order.value)
    assert not isinstance(command, Dead)
    folded = fold(None, command, partition)  # type: ignore[arg-type]
    assert isinstance(folded, tuple)
    write_set = WriteSet()
    for index, entry in enumerate(folded[1]):
        write_set.add_entry(folded[0], entry, partition, 0, index)
    write_set.build_rows()
    return write_set


def offset_commit(
    partition: int = 0, expected: int = 0, epoch: int = 1, **fields: int
) -> OffsetCommit:
    published = {"published_offset": -1, "published_index": -1}
    return OffsetCommit(
        partition, expected, epoch, expected + 1, **(published | {"applied": 1} | fields)
    )


async def commit_one(
    connection: asyncpg.Connection, *offset_commits: OffsetCommit, write_set: WriteSet | None = None
) -> bool:
    return await commit(
        connection, "apply", TOPIC, offset_commits, write_set or effects_of(Orders().create())
    )


async def refused(connection: asyncpg.Connection, *offset_commits: OffsetCommit) -> str:
    """The SQLSTATE with which a commit fails; nothing may have happened."""
    before = await everything(connection)
    with pytest.raises(asyncpg.PostgresError) as failed:
        await commit_one(connection, *offset_commits)
    assert await everything(connection) == before
    return sqlstate(failed.value)


async def everything(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return [
        *await connection.fetch("select * from consumer_offset order by partition"),
        *await connection.fetch("select * from graph_execution order by id"),
        *await connection.fetch("select * from journal order by graph_exec_id, seq"),
    ]


async def test_the_same_commit_again_changes_nothing(connection: asyncpg.Connection) -> None:
    """It answers that it was there already."""
    write_set = effects_of(Orders().create())

    assert (
        await commit_one(connection, offset_commit(0), offset_commit(1), write_set=write_set)
        is False
    )
    after = await everything(connection)
    assert (
        await commit_one(connection, offset_commit(0), offset_commit(1), write_set=write_set)
        is True
    )

    assert await everything(connection) == after
    assert [row["applied"] for row in after[:2]] == [1, 1]


@pytest.mark.parametrize(
    "offset_commits",
    [
        [offset_commit(0, epoch=0)],
        [offset_commit(0, epoch=2)],
        [offset_commit(0, expected=1)],
        [offset_commit(2)],
        [offset_commit(0), offset_commit(1, epoch=2)],
        [offset_commit(0), offset_commit(1, expected=7)],
        [offset_commit(0), offset_commit(2)],
    ],
    ids=lambda offset_commits: ", ".join(
        f"{m.partition}:{m.expected}@{m.epoch}" for m in offset_commits
    ),
)
async def test_a_commit_that_does_not_fit_fails_as_a_whole(
    connection: asyncpg.Connection, offset_commits: list[OffsetCommit]
) -> None:
    """Another epoch or offset, or no such row: also when only one of two partitions is wrong."""
    assert await refused(connection, *offset_commits) == FENCED


async def test_half_there_already_is_not_there(connection: asyncpg.Connection) -> None:
    """One partition stands where it would after the commit, the other before it."""
    await commit_one(connection, offset_commit(0))

    assert await refused(connection, offset_commit(0), offset_commit(1)) == FENCED


async def test_claiming_fences_whoever_was_there(connection: asyncpg.Connection) -> None:
    """The epoch rises, the position stays; where none is stored it begins at the given one."""
    await commit_one(connection, offset_commit(0))

    rows = await claim(connection, "apply", TOPIC, {0: 5, 3: 5})

    assert [(r["partition"], r["next_offset"], r["epoch"]) for r in rows] == [(0, 1, 2), (3, 5, 1)]
    assert await refused(connection, offset_commit(0, expected=1)) == FENCED
    assert await commit_one(connection, offset_commit(0, expected=1, epoch=2)) is False


async def test_a_claim_begins_behind_the_commit_that_it_waited_for(
    connection: asyncpg.Connection, stack: Addresses, names: Names
) -> None:
    """It has the position after that commit, which its author was still entitled to."""
    claiming = Session(stack.postgres_dsn, names.schema)
    other = await claiming.get()
    async with connection.transaction():
        await commit_one(connection, offset_commit(0))
        waiting = asyncio.ensure_future(claim(other, "apply", TOPIC, {0: 0}))
        await until(partial(connection.fetchval, WAITS, other.get_server_pid()))

    [row] = await waiting
    assert (row["next_offset"], row["epoch"]) == (1, 2)
    assert await refused(connection, offset_commit(0, expected=1)) == FENCED
    await claiming.close()


async def test_consumers_and_topics_are_apart(connection: asyncpg.Connection) -> None:
    """Claims of another consumer fence nothing here."""
    await claim(connection, "tally", TOPIC, {0: 0})
    await claim(connection, "apply", "other", {0: 0})

    assert await commit_one(connection, offset_commit(0)) is False


async def test_a_run_of_another_partition_fails_the_commit(connection: asyncpg.Connection) -> None:
    """Two partitions created one run at once: the second one finds it taken, also when it has more
    entries of it.
    """
    orders = Orders()
    await commit_one(connection, offset_commit(0), write_set=effects_of(orders.create()))
    before = await everything(connection)
    longer = orders.create(orders.node("a"), orders.node("b"))

    with pytest.raises(asyncpg.PostgresError) as failed:
        await commit_one(connection, offset_commit(1), write_set=effects_of(longer, 1))

    assert sqlstate(failed.value) == CREATED_ELSEWHERE
    assert await everything(connection) == before


async def test_a_run_known_as_of_later_fails_the_commit(connection: asyncpg.Connection) -> None:
    """A state that was too old when it was folded never overwrites a newer row."""
    orders = Orders()
    write_set = effects_of(orders.create())
    await commit_one(connection, offset_commit(0), write_set=write_set)

    with pytest.raises(asyncpg.PostgresError) as failed:
        await commit_one(connection, offset_commit(0, expected=1), write_set=write_set)

    assert sqlstate(failed.value) == CREATED_ELSEWHERE


async def test_what_is_published_never_goes_back(connection: asyncpg.Connection) -> None:
    """Neither with a commit nor by itself, and only for the owner of the partition."""
    await commit_one(connection, offset_commit(0, published_offset=5, published_index=2))
    await commit_one(
        connection, offset_commit(0, expected=1, published_offset=5, published_index=1)
    )
    assert await published(connection) == (5, 2)

    await save_published(connection, "apply", TOPIC, {0: (1, (5, 1))})
    await save_published(connection, "apply", TOPIC, {0: (7, (9, 9))})
    assert await published(connection) == (5, 2)

    await save_published(connection, "apply", TOPIC, {0: (1, (6, 0))})
    assert await published(connection) == (6, 0)


async def published(connection: asyncpg.Connection) -> tuple[int, int]:
    row = await connection.fetchrow(
        """select published_offset, published_index from consumer_offset
            where consumer = 'apply' and partition = 0"""
    )
    return tuple(row)


async def test_rows_that_came_before_their_day_move_to_its_partition(
    connection: asyncpg.Connection,
) -> None:
    """Rows of runs that were dated ahead, which the default partition took, move."""
    await commit_one(connection, offset_commit(0))
    assert await _partitions(connection) == ["journal_other"]

    await ensure_day(connection, DAWN.date())
    await commit_one(connection, offset_commit(0, expected=1))

    assert await _partitions(connection) == [f"journal_{DAWN:%Y%m%d}"]


async def test_a_day_with_many_rows_stays_where_it_is(connection: asyncpg.Connection) -> None:
    """Moving them would hold writers up: nothing is moved, and nothing fails."""
    await connection.execute(
        """insert into journal
           select gen_random_uuid(), 1, $1::date, now(), gen_random_uuid(), 'graph.created', null,
                  null, null, null, null, null, 7, n, 0
             from generate_series(1, 10001) as n""",
        DAWN.date(),
    )

    await ensure_day(connection, DAWN.date())
    await commit_one(connection, offset_commit(0))

    assert await _partitions(connection) == ["journal_other"]


async def _partitions(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "select distinct tableoid::regclass::text from journal order by 1"
    )
    return [row[0] for row in rows]
