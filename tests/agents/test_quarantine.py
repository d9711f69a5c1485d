"""The handling of a record that fails each time, of those behind it, and of their copies."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from execstream.agents.apply import suspects
from execstream.devstack import Addresses
from execstream.recovery.offsets.offset_rows import rebase_commands
from execstream.storage.connections import Profile
from execstream.streams import quarantine
from execstream.streams.quarantine import Release, copy_headers
from tests.agents.applying import TOPIC, Desk, desk, desk_at
from tests.agents.faulty import break_all, break_run, mend
from tests.orders import Order, Orders


@pytest.fixture
async def place(stack: Addresses) -> AsyncIterator[Desk]:
    async with desk(stack) as own:
        yield own


def life(orders: Orders, partition: int = 0) -> list[Order]:
    """A run of four commands."""
    some = [
        orders.create(orders.node("n", inputs={"in": 1})),
        orders.start(),
        orders.move_step("n", "RUNNING"),
        orders.move("COMPLETED"),
    ]
    return [one._replace(partition=partition) for one in some]


def mixed(*lives: list[Order]) -> list[Order]:
    """The first commands of all, then the second ones."""
    return [one for some in zip(*lives, strict=True) for one in some]


async def statuses(place: Desk) -> dict[str, str]:
    rows = await place.db.fetch("select id::text, status from graph_execution")
    return {row["id"]: row["status"] for row in rows}


async def held(place: Desk) -> list[tuple[int, str]]:
    """Offset and reason of the records in quarantine."""
    rows = await place.db.fetch(
        """select "offset", reason from quarantine where released_at is null
            order by partition, "offset" """
    )
    return [(row["offset"], row["reason"]) for row in rows]


async def counts(place: Desk) -> dict[str, int]:
    row = await place.db.fetchrow(
        """select sum(applied)::int as applied, sum(refused)::int as refused,
                  sum(dead)::int as dead, sum(quarantined)::int as quarantined,
                  sum(next_offset)::int as all
             from consumer_offset"""
    )
    return dict(row)


async def release(place: Desk, *releases: tuple[int, Release]) -> None:
    """Have copies of the originals at these offsets come, in one batch."""
    orders = []
    for offset, how in releases:
        row = await place.db.fetchrow(
            """select partition, key, value from quarantine where "offset" = $1""", offset
        )
        headers = copy_headers((), offset, how)
        orders.append(Order(row["key"], row["value"], row["partition"], headers))
    await place.commit(place.batch(orders))


async def test_only_the_record_that_fails_is_set_aside(place: Desk) -> None:
    """A run fails to be stored by Postgres, among two others on its partition and one on another:
    its first command is set aside, the others of the run wait behind it, and nothing else is
    touched.
    """
    broken, others = Orders(), [Orders(), Orders()]
    elsewhere = Orders()
    await break_run(place.db, broken.run_id)

    await place.commit(
        place.batch(mixed(life(others[0]), life(broken), life(others[1]), life(elsewhere, 1)))
    )

    assert await held(place) == [(1, "fault"), (4, "parked"), (7, "parked"), (10, "parked")]
    assert await statuses(place) == {one.run_id: "COMPLETED" for one in (*others, elsewhere)}
    found = await counts(place)
    assert (found["applied"], found["quarantined"], found["all"]) == (12, 4, 16)
    detail = await place.db.fetchval("select detail::text from quarantine where reason = 'fault'")
    assert "planted" in detail


async def test_later_commands_wait(place: Desk) -> None:
    """Commands of the run in later batches, and after a restart, are parked; others go on."""
    broken, other = Orders(), Orders()
    create, *rest = life(broken)
    await break_run(place.db, broken.run_id)
    await place.commit(place.batch([create]))
    await mend(place.db)

    await place.commit(place.batch([rest[0], *life(other)]))
    await place.claim(0, 1)
    await place.commit(place.batch(rest[1:]))

    assert [offset for offset, _ in await held(place)] == [0, 1, 6, 7]
    assert await statuses(place) == {other.run_id: "COMPLETED"}


async def test_a_retry_applies_all_in_order(place: Desk) -> None:
    """Copies of all of them, in one batch with a new command of the run, have their effects."""
    broken = Orders()
    create, start, step, end = life(broken)
    await break_run(place.db, broken.run_id)
    await place.commit(place.batch([create, start, step]))
    await mend(place.db)

    await release(place, (0, Release.RETRY), (1, Release.RETRY), (2, Release.RETRY))
    await place.commit(place.batch([end]))

    assert await held(place) == []
    assert await statuses(place) == {broken.run_id: "COMPLETED"}
    found = await counts(place)
    assert (found["applied"], found["quarantined"], found["all"]) == (4, 3, 7)
    rows = await place.db.fetch("select released_by, value from quarantine order by 1")
    assert [(row["released_by"], row["value"]) for row in rows] == [(3, None), (4, None), (5, None)]


async def test_new_commands_queue_up_behind_a_retry(place: Desk) -> None:
    """One that comes between two copies waits until those before it are applied."""
    broken = Orders()
    create, start, step, end = life(broken)
    await break_run(place.db, broken.run_id)
    await place.commit(place.batch([create, start, step]))
    await mend(place.db)

    await release(place, (0, Release.RETRY))
    await place.commit(place.batch([end]))
    assert [offset for offset, _ in await held(place)] == [1, 2, 4]
    await release(place, (1, Release.RETRY), (2, Release.RETRY), (4, Release.RETRY))

    assert await held(place) == []
    assert await statuses(place) == {broken.run_id: "COMPLETED"}


async def test_copies_in_a_wrong_order_have_no_effect(place: Desk) -> None:
    """Only a copy of the first one is taken, and that once."""
    broken = Orders()
    create, start, *_ = life(broken)
    await break_run(place.db, broken.run_id)
    await place.commit(place.batch([create, start]))
    await mend(place.db)

    await release(place, (1, Release.RETRY))
    assert await statuses(place) == {}
    await release(place, (0, Release.RETRY), (0, Release.SKIP), (1, Release.RETRY))

    assert await held(place) == []
    assert await statuses(place) == {broken.run_id: "RUNNING"}
    assert await counts(place) == {
        "applied": 2, "refused": 0, "dead": 0, "quarantined": 4, "all": 6
    }  # fmt: skip


async def test_a_copy_that_fails_again_leaves_all_as_it_was(place: Desk) -> None:
    """The fault is still there when the operator retries."""
    broken = Orders()
    create, start, *_ = life(broken)
    await break_run(place.db, broken.run_id)
    await place.commit(place.batch([create, start]))

    await release(place, (0, Release.RETRY), (1, Release.RETRY))

    assert await held(place) == [(0, "fault"), (1, "parked")]
    await mend(place.db)
    await release(place, (0, Release.RETRY), (1, Release.RETRY))
    assert await statuses(place) == {broken.run_id: "RUNNING"}


async def test_a_skipped_record_is_a_dead_letter(place: Desk) -> None:
    """The start that failed becomes a dead letter with its bytes, and the rest is applied."""
    broken = Orders()
    create, start, *_ = life(broken)
    await place.commit(place.batch([create]))
    await break_run(place.db, broken.run_id)
    await place.commit(place.batch([start, broken.move("FAILED")._replace(partition=0)]))
    await mend(place.db)

    await release(place, (1, Release.SKIP), (2, Release.RETRY))

    assert await held(place) == []
    assert await statuses(place) == {broken.run_id: "FAILED"}
    [letter] = await place.db.fetch("select reason, value from dead_letter")
    assert (letter["reason"], letter["value"]) == ("quarantined", start.value)


async def test_parking_is_bounded(place: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the commands of the run are dead letters; others go on."""
    monkeypatch.setattr(quarantine, "MOST_PARKED", 2)
    broken, other = Orders(), Orders()
    await break_run(place.db, broken.run_id)

    await place.commit(place.batch([*life(broken), *life(other)]))

    assert [offset for offset, _ in await held(place)] == [0, 1, 2]
    [letter] = await place.db.fetch("""select reason, "offset" from dead_letter""")
    assert tuple(letter) == ("run_quarantined", 3)
    assert await statuses(place) == {other.run_id: "COMPLETED"}


async def test_an_outage_sets_nothing_aside(place: Desk) -> None:
    """Postgres stores no entry at all for two seconds, and everything is applied afterwards."""
    await break_all(place.db)
    batch = place.batch([*life(Orders()), *life(Orders(), 1)])

    applying = asyncio.create_task(place.commit(batch))
    await asyncio.sleep(2)  # long enough for every number of tries
    assert not applying.done()
    await mend(place.db)
    await applying

    assert await held(place) == []
    assert (await counts(place))["applied"] == 8


async def test_a_record_that_takes_too_long(place: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that does not end is a fault, too."""
    monkeypatch.setattr(suspects, "PART_TIMEOUT", 200)
    monkeypatch.setattr(suspects, "RECORD_TIMEOUT", 400)
    broken, other = Orders(), Orders()
    await break_run(place.db, broken.run_id, waits=True)
    profile = Profile("execstream", 5.0, {"statement_timeout": "1s"})
    monkeypatch.setattr(place.applier._writing, "_profile", profile)

    await place.commit(place.batch(mixed(life(broken), life(other))))

    assert [offset for offset, _ in await held(place)] == [0, 2, 4, 6]
    assert await statuses(place) == {other.run_id: "COMPLETED"}


async def test_a_key_value_of_a_user(place: Desk) -> None:
    """Key-values are set aside by user: a constraint of the database fails for one key."""
    orders = Orders()
    await place.db.execute(
        """create function fail_key() returns trigger language plpgsql as $$
           begin if new.key = 'bad' then raise exception 'planted'; end if; return new; end $$;
           create trigger fail_key before insert on kv_journal
              for each row execute function fail_key()"""
    )
    some = [orders.keep("bad"), orders.keep("good"), orders.keep("good", user_id="bob")]

    await place.commit(place.batch([one._replace(partition=0) for one in some]))

    assert [offset for offset, _ in await held(place)] == [0, 1]
    assert await place.db.fetchval("select array_agg(user_id) from kv_data") == ["bob"]


async def test_a_new_topic_keeps_their_order(place: Desk) -> None:
    """The topic is recreated: waiting records come before all of the new one."""
    broken = Orders()
    create, start, step, end = life(broken)
    await break_run(place.db, broken.run_id)
    await place.commit(place.batch([create, start]))
    await mend(place.db)

    await rebase_commands(place.db, TOPIC)
    await place.claim(0, 1)
    place.ends[0] = 0
    await place.commit(place.batch([step, end]))
    assert await held(place) == [(-2, "fault"), (-1, "parked"), (0, "parked"), (1, "parked")]
    await release(place, *((offset, Release.RETRY) for offset in (-2, -1, 0, 1)))

    assert await statuses(place) == {broken.run_id: "COMPLETED"}


async def test_a_fenced_worker_sets_nothing_aside(place: Desk) -> None:
    """The partition is taken over while a record of it is tried: the new owner decides."""
    broken = Orders()
    await break_run(place.db, broken.run_id)
    batch = place.batch(life(broken))
    async with desk_at(place.db, place.applier._settings) as rival:
        await rival.claim(0, 1)
        await place.commit(batch)
        assert await held(place) == []
        rival.ends[0] = 0
        await rival.commit(rival.batch(life(broken)))
    assert [offset for offset, _ in await held(place)] == [0, 1, 2, 3]
