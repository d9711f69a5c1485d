"""The worker's reactions to commits that fail or have an unknown outcome, on real tables."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from execstream.agents.apply import batch_fold, state_cache, suspects
from execstream.agents.apply import pipeline as module
from execstream.agents.apply.probe_commit import probe_commit
from execstream.agents.runtime import partition_buffer
from execstream.agents.runtime.metrics import FAR_DATED_RUNS
from execstream.agents.runtime.partition_buffer import Batch
from execstream.agents.runtime.retries import is_transient, pauses
from execstream.devstack import Addresses
from execstream.storage.commit.write_set import commit
from execstream.storage.connections import Session
from execstream.streams.decoding import decode
from tests.agents.applying import Desk, desk, desk_at
from tests.comparing import assert_events_equal, assert_rows_equal, differing_rows
from tests.orders import Order, Orders
from tests.whole.bad_records import huge


@pytest.fixture
async def place(stack: Addresses) -> AsyncIterator[Desk]:
    async with desk(stack) as own:
        yield own


@pytest.fixture
async def rival(place: Desk) -> AsyncIterator[Desk]:
    """Another worker on the same tables."""
    async with desk_at(place.db, place.applier._settings) as other:
        other.ends = place.ends
        yield other


def life(orders: Orders, partition: int) -> list[Order]:
    """A run from its creation to its end, with a refusal, a duplicate and a dead letter."""
    some = [
        orders.create(orders.node("n", inputs={"in": 1})),
        orders.start(),
        orders.start(),
        orders.move_step("n", "RUNNING", stats={"cost": 1}),
        orders.emit("n"),
        orders.keep(user_id=orders.run_id),
        orders.raw(b"bad"),
        orders.move("COMPLETED"),
    ]
    return [one._replace(partition=partition) for one in [*some, some[1]]]


async def assert_as_told(place: Desk) -> None:
    await assert_rows_equal(place.db, place.reference)
    assert_events_equal(place.said.events, place.reference.events())
    assert len(place.said.dead_letters) == place.reference.counts["dead"]


async def test_a_null_is_a_value(place: Desk) -> None:
    """A JSON null in the journal is not the absence of a value, in a comparison either."""
    orders = Orders()
    await place.apply(orders.create(orders.node("n", inputs={"a": None})))
    await assert_as_told(place)

    await place.db.execute("update journal set data = null where data = 'null'")

    [row] = await differing_rows(place.db, place.reference)
    assert (row.table.name, len(row.cells())) == ("journal", 1)


async def test_a_lost_answer_is_asked_for_again(
    place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection dies after the commit and before its answer: the second try finds the commit,
    and everything is published once.
    """
    answers = []
    original = commit

    async def answer_gets_lost(*args: Any) -> bool:
        answers.append(await original(*args))
        if len(answers) == 1:
            raise ConnectionResetError
        return answers[-1]

    monkeypatch.setattr(module, "commit", answer_gets_lost)
    await place.apply(*life(Orders(), 0), *life(Orders(), 1))

    assert answers == [False, True]
    await assert_as_told(place)


async def test_an_outage_that_swallows_an_answer_loses_no_event(
    place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres fails after a commit and before its answer, until a probe commit succeeds: the batch
    is found committed as it is, and everything is published once.
    """
    probes: list[Batch] = []

    async def probe(session: Session, consumer: str, batch: Batch) -> None:
        probes.append(batch)
        await probe_commit(session, consumer, batch)

    monkeypatch.setattr(suspects, "probe_commit", probe)
    monkeypatch.setattr(module, "commit", _unanswered(lambda: not probes))
    await place.apply(*life(Orders(), 0), *life(Orders(), 1))

    await assert_as_told(place)


async def test_a_part_that_was_committed_before_is_left_to_the_journal(
    place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers to a commit get lost until its batch is folded again in parts. The parts, which
    are duplicates now, do not count as committed: the partitions are given up.
    """
    calls = itertools.count()
    monkeypatch.setattr(module, "commit", _unanswered(lambda: next(calls) < suspects.REPEATS))

    await place.apply(*life(Orders(), 0), *life(Orders(), 1))

    assert place.owned == {}
    await assert_rows_equal(place.db, place.reference)
    assert not any(place.said.events.values())


def _unanswered(is_lost: Callable[[], bool]) -> Callable[..., Awaitable[bool]]:
    """A commit whose answer gets lost while `is_lost`."""

    async def commit_unanswered(*args: Any) -> bool:
        answer = await commit(*args)
        if is_lost():
            raise ConnectionResetError
        return answer

    return commit_unanswered


async def test_a_killed_connection_is_replaced(place: Desk) -> None:
    """Both connections are terminated between two batches."""
    orders = Orders()
    first, *rest = life(orders, 0)
    await place.apply(first)
    await place.db.execute(
        """select pg_terminate_backend(pid) from pg_stat_activity
            where pid <> pg_backend_pid() and datname = current_database()
              and pid = any ($1::integer[])""",
        [await _pid(place.applier._reading), await _pid(place.applier._writing)],
    )
    place.applier.drop_states()

    await place.apply(*rest)

    await assert_as_told(place)


async def _pid(session: Session) -> int:
    return int((await session.get()).get_server_pid())


async def test_who_is_fenced_writes_nothing(
    place: Desk, rival: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker takes the partitions over: the batch of the first one has no effect, it gives
    everything up, and the second one applies it instead.
    """
    monkeypatch.setattr(partition_buffer, "FENCED_PATIENCE", 1e6)
    orders = Orders()
    some = life(orders, 0)
    await place.apply(*some[:3])
    stale = place.batch(some[3:])

    await rival.claim(0, 1)
    await place.commit(stale)

    assert place.owned == {}
    await assert_as_told(place)
    rival.said, rival.reference = place.said, place.reference
    rival.applier._publisher = place.said
    rival.ends[0] = stale[0].expected
    await rival.apply(*some[3:])
    await assert_as_told(rival)


async def test_half_a_fenced_batch_is_none(
    place: Desk, rival: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its two partitions was taken over: the batch fails as a whole."""
    monkeypatch.setattr(partition_buffer, "FENCED_PATIENCE", 1e6)
    batch = place.batch([*life(Orders(), 0), *life(Orders(), 1)])

    await rival.claim(1)
    await place.commit(batch)

    await assert_as_told(place)
    rows = await place.db.fetch("select next_offset from consumer_offset")
    assert [row["next_offset"] for row in rows] == [0, 0]


async def test_a_run_created_elsewhere_meanwhile(place: Desk, rival: Desk) -> None:
    """Two workers folded the creation of one run; the one that commits second folds again, and only
    commands of that run are dead there.
    """
    orders, neighbour = Orders(), Orders()
    first = place.batch(life(orders, 0))
    await rival.claim(1)
    place.owned.pop(1)
    second = rival.batch([*life(orders, 1), *life(neighbour, 1)])
    for record in [*first[0].records, *second[0].records]:
        place.reference.feed(record.partition, record.offset, record.key, record.value)
    rival.applier._publisher = place.said

    # Both fold before either commits.
    folded = await rival.applier._fold(second)
    await place.commit(first)
    assert folded is not None
    await rival.applier._settle(folded)

    await assert_as_told(place)
    dead = await place.db.fetch("select partition, reason from dead_letter where value <> 'bad'")
    assert {tuple(row) for row in dead} == {(1, "wrong_partition")}


async def test_commits_overlap_with_the_next_fold(place: Desk) -> None:
    """A run is folded on while its earlier batch is still being committed."""
    await _apply_overlapping(place, [[order] for order in life(Orders(), 0)])

    await assert_as_told(place)


async def test_what_was_folded_on_a_batch_that_came_out_otherwise(
    place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres refuses some of each batch when the next one has been folded on it already."""
    monkeypatch.setattr(batch_fold, "decode", partial(decode, bounded=False))
    batches = []
    for partition in (0, 1, 0, 1, 0):
        orders = Orders()
        some = life(orders, partition)
        refused = huge(orders.emit("n", data="@"))._replace(partition=partition)
        batches += [[*some[:4], refused, some[4]], [refused, *some[5:]]]

    await _apply_overlapping(place, batches)

    await assert_as_told(place)
    assert place.reference.counts["dead"] == 15


async def _apply_overlapping(place: Desk, batches: list[list[Order]]) -> None:
    for orders in batches:
        batch = place.batch(orders)
        for record in batch[0].records:
            place.reference.feed(record.partition, record.offset, record.key, record.value)
        await place.applier.apply(batch)
    await place.settled()


async def test_states_are_forgotten_when_there_are_too_many(place: Desk) -> None:
    """And loaded again when they are needed."""
    place.applier._cache._limit = 1
    runs = [Orders() for _ in range(20)]
    lives = [life(orders, index % 2) for index, orders in enumerate(runs)]

    for step in zip(*lives, strict=True):
        await place.apply(*step)

    assert len(place.applier._cache) < len(runs)
    await assert_as_told(place)


async def test_the_journal_of_a_day_goes_to_its_partition(place: Desk) -> None:
    """Days near Kafka's time have partitions of their own, all others share one."""
    near, far = Orders(), Orders()
    old = far.create(at="2020-01-01T00:00:00Z")
    await place.apply(near.create()._replace(partition=0), old._replace(partition=0))

    assert await _journals(place) == {
        near.run_id: "journal_20260301",
        far.run_id: "journal_other",
    }


async def test_days_are_judged_record_by_record(place: Desk) -> None:
    """A wrong Kafka time of one record sends no other journal elsewhere, and lets no absurd day
    have a partition.
    """
    old, early, near, absurd = Orders(), Orders(), Orders(), Orders()
    await place.apply(
        old.create(at="2020-01-01T00:00:00Z")._replace(timestamp=0),
        early.create(at="2026-02-01T00:00:00Z"),
        near.create(),
        absurd.create(at="2030-01-01T00:00:00Z"),
        old.start()._replace(timestamp=4_000_000_000_000),
    )

    assert await _journals(place) == {
        old.run_id: "journal_other",
        early.run_id: "journal_20260201",
        near.run_id: "journal_20260301",
        absurd.run_id: "journal_other",
    }


async def test_the_clock_of_a_producer_makes_no_partition(place: Desk) -> None:
    """Where the broker does not report when it appended a record, its time is the producer's, and
    may be as far from today as the command's.
    """
    now = datetime.now(UTC)
    past = [datetime(1980, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(50)]
    place.timestamp_type = 0
    await place.apply(
        *(
            Orders().create(at=day.isoformat())._replace(timestamp=int(day.timestamp() * 1000))
            for day in past
        )
    )
    first, second = Orders(), Orders()
    await place.apply(first.create(at=now.isoformat())._replace(timestamp=0))
    await place.apply(second.create(at=now.isoformat())._replace(timestamp=4_000_000_000_000))

    name = f"journal_{now:%Y%m%d}"
    found = await _journals(place)
    assert {first.run_id: name, second.run_id: name}.items() <= found.items()
    assert set(found.values()) == {name, "journal_other"}


async def test_far_days_are_counted(place: Desk) -> None:
    """Each run that gets no partition of its day."""
    before = _far_dated()
    await place.apply(
        Orders().create(),
        Orders().create(at="2020-01-01T00:00:00Z"),
        Orders().create(at="2020-01-01T00:00:00Z"),
        Orders().create(at="2026-03-04T00:00:00Z"),
    )

    assert _far_dated() - before == 3


def _far_dated() -> float:
    [metric] = FAR_DATED_RUNS.collect()
    return float(next(one.value for one in metric.samples if one.name.endswith("_total")))


async def _journals(place: Desk) -> dict[str, str]:
    """The partition that has the journal of each run."""
    where = await place.db.fetch(
        "select distinct graph_exec_id, tableoid::regclass::text as name from journal"
    )
    return {str(row["graph_exec_id"]): row["name"] for row in where}


async def test_key_values_are_forgotten_when_there_are_too_many(
    place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the next batch is folded while the one before is being committed, without an end."""
    monkeypatch.setattr(state_cache, "_KEY_VALUES", 20)
    orders = Orders()
    batches = [
        [orders.keep(f"k{number}") for number in range(3)]
        + [orders.keep("k0", at="2020-01-01T00:00:00Z")]
        for _ in range(20)
    ]
    again = batches[0]

    for some in [*batches, again]:
        batch = place.batch(some)
        for record in batch[0].records:
            place.reference.feed(record.partition, record.offset, record.key, record.value)
        await place.applier.apply(batch)
        known = place.applier._cache.key_values
        assert len(known.written) + len(known.applied) <= 20 + 6
    await place.settled()

    await assert_as_told(place)
    assert place.reference.counts["refused"] == 21
    assert place.reference.counts["duplicate"] == 3


def test_waiting_never_ends_and_never_grows_long() -> None:
    """The first tries follow quickly."""
    endless = pauses()
    first = [next(endless) for _ in range(20)]
    assert first[0] < 0.1
    assert max(first) <= 1


def test_errors_are_told_apart() -> None:
    """Transient errors are retried; others are not."""
    transient = [
        asyncpg.DeadlockDetectedError(""),
        asyncpg.AdminShutdownError(""),
        asyncpg.TooManyConnectionsError(""),
        asyncpg.InterfaceError(""),
        ConnectionResetError(),
        RedisConnectionError(),
        TimeoutError(),
    ]
    lasting = [asyncpg.UndefinedTableError(""), asyncpg.CheckViolationError(""), KeyError()]
    assert [is_transient(error) for error in transient] == [True] * len(transient)
    assert [is_transient(error) for error in lasting] == [False] * len(lasting)


async def test_numbers_beyond_numeric_halve_no_batch(
    place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found before the commit, which is the only one of the batch."""
    commits = []

    async def counted(*args: Any) -> bool:
        commits.append(args)
        return await commit(*args)

    monkeypatch.setattr(module, "commit", counted)
    orders = [Orders() for _ in range(20)]
    created = [one.create()._replace(partition=0) for one in orders]
    bad = [
        huge(one.order("graph.update", stats={"a": "@"}))._replace(partition=0) for one in orders
    ]

    await place.apply(*created, *bad)

    assert len(commits) == 1
    assert place.reference.counts["dead"] == 20
    detail = await place.db.fetch("select distinct detail ->> 'sqlstate' from dead_letter")
    assert [row[0] for row in detail] == ["22003"]
    await assert_as_told(place)


async def test_stats_of_a_run_are_not_read_with_its_state(place: Desk) -> None:
    """Written as text they would take 1 GiB, as a version before could store them; the run goes on
    all the same."""
    orders = Orders()
    await place.apply(orders.create(), orders.order("graph.update", stats={"a": 1}))
    numbers = '{"a": [' + ",".join(["1e131071"] * 8_200) + "]}"
    await place.db.execute(
        """update journal set detail = jsonb_build_object('stats', $1::jsonb)
            where type = 'graph.updated'""",
        numbers,
    )
    place.applier.drop_states()

    await place.apply(orders.start())

    status = await place.db.fetchval("select status from graph_execution")
    assert status == "RUNNING"
