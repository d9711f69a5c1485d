"""Alerts, from steps that fail to their receivers: rows, Redis, a webhook, once each."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from redis.asyncio import Redis

from execstream.agents.alerts.delivery import LONGEST_PAUSE, Channel, pause_after
from execstream.agents.alerts.stuck_runs import MOST_OF_USER
from execstream.devstack import Addresses
from execstream.storage.alerts.outbox import mark_published, take_unpublished
from execstream.storage.alerts.records import acknowledge, list_alerts, silence
from execstream.storage.connections import connect
from execstream.storage.redis.channels import alert_channel
from execstream.streams.imported import HEADERS
from tests.agents.alerted import SECRET, Receiver, begun, end_steps, has, heard, opened, receiving
from tests.agents.tallied import counted
from tests.orders import Orders
from tests.worker import Installation, Worker, installation, until

MANY = 60  # messages, more than one publisher takes at once
_MANY_MESSAGES = """
with raised as (
    insert into alert (subject, kind, severity, figures)
    values ('block:block', 'failing', 'warning', '{}') returning id)
insert into alert_message (alert_id, type, alert)
select id, 'alert.changed', '{}' from raised, generate_series(1, $1)
"""
LATE = 35  # seconds into a minute, after which there may not be enough left of it


@pytest.fixture(scope="module")
async def hook() -> AsyncIterator[Receiver]:
    """A webhook of this module's own."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
async def shared(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Topics and tables of this module's own, and a worker that applies."""
    async with (
        installation(stack, tmp_path_factory.mktemp("logs")) as own,
        own.worker(),
    ):
        yield own


@pytest.fixture
async def place(shared: Installation, hook: Receiver) -> Installation:
    """The same, with nothing counted and nothing raised, and a webhook that takes everything."""
    await shared.db.execute("truncate alert cascade")
    await shared.db.execute("delete from block_minute")
    for heard_before in (hook.refusals, hook.requests, hook.taken):
        heard_before.clear()
    return shared


@pytest.fixture(scope="module")
async def tally(shared: Installation, hook: Receiver) -> AsyncIterator[Worker]:
    """A worker that counts and judges, and posts to that webhook."""
    worker = await begun(shared, hook)
    yield worker
    assert await worker.stop() == 0


@pytest.mark.slow
async def test_a_rate_that_crosses_is_told_everywhere_whoever_dies(place: Installation) -> None:
    """Ten good steps and then failures: one row and one message on Redis, though two workers look.
    Both die while the webhook refuses; the next one posts the same to it, signed. A block that
    fails at 0.5 % has no alert.
    """
    async with heard(place) as said, receiving(*[500] * 1_000) as receiver:
        workers = await asyncio.gather(begun(place, receiver), begun(place, receiver))
        await end_steps(place, "healthy", ["boom"] + ["ok"] * 199)
        await _early_in_a_minute()
        await end_steps(place, "brittle", ["ok"] * 10)
        await end_steps(place, "brittle", ["HTTP 503"] * 10)
        [row] = await opened(place)
        await until(lambda: has(said, 1))
        await until(lambda: has(receiver.requests, 2))
        for worker in workers:
            await worker.kill()
        receiver.refusals.clear()
        # A worker that died in the middle has it for LEASE seconds; the test does not wait for
        # that.
        await place.db.execute("update alert_message set next_try_at = now()")
        assert not receiver.taken
        last = await begun(place, receiver)
        await until(lambda: has(receiver.taken, 1))
        await last.stop()
        assert len(await opened(place)) == 1

    assert (row["kind"], row["block_id"], row["error_class"]) == ("failing", "brittle", None)
    figures = json.loads(row["figures"])
    seen = figures["at_open"]
    assert (seen["ended"], seen["failed"], figures["leading_class"]) == (20, 10, "outage")
    assert [message["type"] for message in said] == ["alert.opened"]
    assert said[0]["alert"]["title"] == "10 of 20 steps failed within 2 minutes"
    assert receiver.taken == said
    for headers, body in receiver.requests:
        signed = headers["Execstream-Timestamp"].encode() + b"." + body
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert headers["Execstream-Signature"] == f"sha256={digest}"
        assert headers["Execstream-Message"] == str(said[0]["message_id"])


async def _early_in_a_minute() -> None:
    """Wait for the beginning of a minute: the following steps and figures are then of one."""

    async def is_early() -> bool:
        return datetime.now(UTC).second < LATE

    await until(is_early)


async def test_publishers_do_not_overtake_each_other(place: Installation) -> None:
    """While one holds messages the next one waits, and then publishes the rest: a reader that drops
    messages not above its last id misses nothing.
    """
    await place.db.execute(_MANY_MESSAGES, MANY)
    channel = Channel(place.settings.redis, place.settings.redis_prefix)
    dsn, settings = place.settings.postgres, {"search_path": place.settings.schema_}
    one, other = [await asyncpg.connect(dsn, server_settings=settings) for _ in range(2)]
    second = other.get_server_pid()

    async def is_held_up() -> bool:
        held = await place.db.fetchval("select pg_blocking_pids($1) <> '{}'", second)
        return held or telling.done()

    async with heard(place) as said, Redis.from_url(place.settings.redis) as redis:
        async with one.transaction():
            messages = await take_unpublished(one)
            telling = asyncio.create_task(channel.deliver(other))
            await until(is_held_up)
            for message in messages:
                await redis.publish(alert_channel(place.settings.redis_prefix), message.json)
            await mark_published(one, messages)
        await telling
        await until(lambda: has(said, MANY))
    for client in (one, other, channel):
        await client.close()

    ids = [message["message_id"] for message in said]
    assert len(messages) < MANY
    assert ids == sorted(ids)
    assert not await place.db.fetchval(
        "select count(*) from alert_message where published_at is null"
    )


async def test_a_page_of_no_alerts_is_refused(place: Installation) -> None:
    for limit in (0, -1):
        with pytest.raises(ValueError, match="limit"):
            await list_alerts(place.db, limit=limit)


# From here on tests share a worker: above it would deliver their messages.


async def test_what_is_silenced_is_not_delivered(
    place: Installation, tally: Worker, hook: Receiver
) -> None:
    """The webhook gets neither the messages to be retried nor the next alert of the same block;
    Redis has them.
    """
    hook.refusals[:] = [500] * 1_000
    db = await connect(place.settings.postgres, place.settings.schema_)
    async with heard(place) as said:
        await end_steps(place, "brittle", ["boom"] * 10)
        await until(lambda: has(hook.requests, 1))
        [row] = await opened(place)
        seen = await acknowledge(db, row["id"], "ada")
        again = await acknowledge(db, row["id"], "bob")
        quiet = await silence(db, row["id"], 60)
        hook.refusals.clear()
        await place.db.execute("update alert set closed_at = now()")
        await end_steps(place, "brittle", ["boom"] * 10)
        await end_steps(place, "other", ["boom"] * 10)
        await opened(place, 3)
        await until(lambda: has(hook.taken, 1))
        await until(lambda: has(said, 5))
        alerts, _ = await list_alerts(db)
        await db.close()

    assert seen is not None
    assert again == seen
    assert quiet is not None
    assert quiet.silenced_until is not None
    assert [message["alert"]["block_id"] for message in hook.taken] == ["other"]
    types = ["alert.opened", "alert.changed", "alert.changed", "alert.opened", "alert.opened"]
    assert [message["type"] for message in said] == types
    assert [alert.closed_at is None for alert in alerts] == [True, True, False]
    by_block = {alert.block_id: alert for alert in alerts[:2]}
    assert by_block["brittle"].silenced_until == quiet.silenced_until


async def test_a_class_of_errors_has_an_alert_when_its_block_has_none(
    place: Installation, tally: Worker
) -> None:
    """A block that usually fails at 30 % at its quota, and now at 20 % for an outage besides; once
    all has been well for a while it is over."""
    await history(place, "mixed", ended=10_000, failed=3_000, classes={"quota": 3_000})
    outcomes = ["HTTP 429"] * 60 + ["HTTP 503"] * 40 + ["ok"] * 100
    await end_steps(place, "mixed", outcomes)
    [row] = await opened(place)
    await place.db.execute("delete from block_minute")
    await place.db.execute("update alert set calm_since = now() - interval '2 minutes'")
    await until(lambda: place.db.fetchval("select closed_at from alert"))

    assert (row["block_id"], row["error_class"]) == ("mixed", "outage")


async def history(
    place: Installation, block_id: str, ended: int, failed: int, classes: dict[str, int]
) -> None:
    """Totals of three hours ago."""
    await place.db.execute(
        """insert into block_minute values (date_trunc('minute', now()) - interval '3 hours', 0, $1,
               $2, $3, $2, $3, 0, 0, 0, 0, $4, $5)""",
        block_id,
        ended,
        failed,
        json.dumps({"325": ended}),  # a quarter of a second each
        json.dumps(classes),
    )


async def test_a_block_that_fails_more_is_told_of_once_more(
    place: Installation, tally: Worker
) -> None:
    """A warning becomes critical, and stays so when the rate falls a little."""
    await end_steps(place, "worse", ["boom"] * 3)
    [first] = await opened(place)
    await end_steps(place, "worse", ["boom"] * 30)
    row = await until(lambda: _row(place, "severity = 'critical'"))
    await end_steps(place, "worse", ["ok"] * 60)
    last = await until(lambda: _row(place, "(figures #>> '{now,ended}')::int > 60"))

    assert first["severity"] == "warning"
    figures = json.loads(last["figures"])
    assert figures["at_open"]["failed"] == 3
    assert figures["now"]["ended"] > figures["worst"]["ended"]
    assert figures["worst"]["least_rate"] > figures["now"]["least_rate"]
    assert row["id"] == last["id"]
    assert last["severity"] == "critical"
    told = await place.db.fetch("select type from alert_message order by id")
    assert [message["type"] for message in told] == ["alert.opened", "alert.changed"]


async def _row(place: Installation, condition: str) -> Any:
    return await place.db.fetchrow(f"select * from alert where {condition}")


async def test_the_end_of_a_silence_is_told(place: Installation, tally: Worker) -> None:
    """An alert that is still open then is published."""
    await end_steps(place, "brittle", ["boom"] * 10)
    await opened(place)
    await place.db.execute("update alert set silenced_until = now()")

    await until(lambda: _row(place, "silenced_until is null"))

    told = await place.db.fetch("select type from alert_message order by id")
    assert [message["type"] for message in told] == ["alert.opened", "alert.changed"]


_UNREADABLE = """
insert into alert (subject, kind, severity, block_id, graph_exec_id, figures, silenced_until)
select kind || figures, kind, 'warning', 'unreadable', gen_random_uuid(), figures::jsonb, now()
  from unnest(array['failing', 'stuck']) as kind,
       unnest(array['{}', 'null', '[1]', '{"threshold": "x", "worst": 1, "at_open": "x"}',
                    '{"threshold": null, "worst": {}, "at_open": {"seconds": []}}']) as figures
"""


async def test_an_alert_that_cannot_be_read_stops_no_judge(
    place: Installation, tally: Worker
) -> None:
    """Its row is left out and noted; alerts of other blocks are raised, and its worker goes on."""
    await place.db.execute(_UNREADABLE)
    await end_steps(place, "other", ["boom"] * 10)

    await until(lambda: _row(place, "block_id = 'other'"))

    assert await place.db.fetchval("select count(*) from alert where closed_at is null") == 11
    assert tally.is_alive
    assert [line["subject"] for line in tally.said("unreadable_row")] == ["alert"]


async def test_who_is_not_to_blame_has_no_alert(place: Installation, tally: Worker) -> None:
    """Neither the block of forty cancelled runs, nor that of a failed child, nor one with bad input
    from callers has an alert. Their figures show it; the block beside them has its alert.
    """
    now = {"at": datetime.now(UTC).isoformat()}
    for _ in range(40):
        orders = Orders(run_id=str(uuid4()))
        await place.put([orders.create(orders.node("a", block_id="cancelled"), **now)])
        await place.put([orders.start(**now), orders.move_step("a", "RUNNING", **now)])
        await place.put([orders.move("TERMINATED", **now)])
    await end_steps(place, "careless", ["ValidationError: url is required"] * 20)
    orders = Orders()
    names = [str(number) for number in range(20)]
    nodes = [orders.node(name, block_id="agent") for name in names]
    stats = {"error": "its run failed", "child_graph_exec_id": str(uuid4())}
    await place.put([orders.create(*nodes, **now), orders.start(**now)])
    await place.put([orders.move_steps(names, "RUNNING", **now)])
    await place.put([orders.move_steps(names, "FAILED", stats=stats, **now)])
    await end_steps(place, "brittle", ["boom"] * 10)
    [row] = await opened(place)

    figures = await place.db.fetch(
        """select block_id, sum(ended)::int, sum(failed)::int, sum(cascaded)::int,
                  sum(caller_failed)::int, sum(added_failed)::int
             from block_minute group by 1 order by 1"""
    )
    assert row["block_id"] == "brittle"
    assert [tuple(one) for one in figures] == [
        ("agent", 20, 0, 0, 0, 20),
        ("brittle", 10, 10, 0, 0, 10),
        ("cancelled", 0, 0, 40, 0, 40),
        ("careless", 20, 20, 0, 20, 20),
    ]


async def test_failures_by_the_caller_raise_alerts_if_so_set(place: Installation) -> None:
    """Alerts are raised for the block as a whole, and by class."""
    worker = await begun(place, alert_caller_failures=True)
    await end_steps(place, "careless", ["ValidationError: url is required"] * 20)
    [row] = await opened(place)
    assert await worker.stop() == 0

    figures = json.loads(row["figures"])
    assert (row["block_id"], figures["leading_class"]) == ("careless", "input")
    assert figures["at_open"] == figures["worst"] == figures["now"]


async def test_old_failures_raise_nothing(place: Installation, tally: Worker) -> None:
    """A replayed topic raises nothing: only steps that end now are judged."""
    await history(place, "of-old", ended=1_000, failed=1_000, classes={"other": 1_000})
    await end_steps(place, "brittle", ["boom"] * 10)

    [row] = await opened(place)

    assert row["block_id"] == "brittle"


async def test_what_a_sender_dates_ahead_raises_nothing(place: Installation, tally: Worker) -> None:
    """They raise nothing, neither now nor when that minute comes. They count as skewed and leave
    the rates of others unchanged.
    """
    now = datetime.now(UTC)
    await end_steps(place, "ahead", ["boom"] * 20, now + timedelta(hours=2))
    await end_steps(place, "within", ["boom"] * 2 + ["ok"] * 98, now + timedelta(minutes=58))
    await counted(place)
    await place.db.execute("update block_minute set minute = date_trunc('minute', now())")
    await end_steps(place, "ahead", ["ok"] * 10)
    await end_steps(place, "brittle", ["boom"] * 10)
    rows = await opened(place)
    figures = await place.db.fetch(
        """select block_id, sum(ended)::int, sum(failed)::int, sum(skewed)::int,
                  sum(added_failed)::int
             from block_minute group by 1 order by 1"""
    )
    texts = await place.db.fetch("select block_id from block_error where hour > now()")

    assert [row["block_id"] for row in rows] == ["brittle"]
    assert [tuple(one) for one in figures] == [
        ("ahead", 10, 0, 20, 20),
        ("brittle", 10, 10, 0, 10),
        ("within", 100, 2, 0, 2),
    ]
    assert not [row for row in texts if row["block_id"] == "ahead"]


async def test_imported_changes_raise_nothing(place: Installation, tally: Worker) -> None:
    """Neither steps that failed just now, nor a run that is silent like one that is stuck: until it
    goes on here. They count in `added_failed` and leave the rates of others unchanged."""
    now, then = datetime.now(UTC), datetime.now(UTC) - timedelta(hours=1)
    await end_steps(place, "moved-in", ["boom"] * 20, now, HEADERS)
    await history(place, "known", ended=10_000, failed=0, classes={})
    stays, goes_on = Orders(run_id=str(uuid4())), Orders(run_id=str(uuid4()))
    for orders in (stays, goes_on):
        at = {"at": then.isoformat()}
        steps = [orders.create(orders.node("a", block_id="known"), **at), orders.start(**at)]
        steps.append(orders.move_step("a", "RUNNING", **at))
        await place.put(one._replace(headers=HEADERS) for one in steps)
    await place.put([goes_on.emit("a", at=then.isoformat())])
    await end_steps(place, "brittle", ["boom"] * 10)
    rows = await opened(place, 2)
    await place.put([stays.move("TERMINATED"), goes_on.move("TERMINATED")])  # for later tests
    figures = await place.db.fetch(
        """select block_id, sum(ended)::int, sum(failed)::int, sum(skewed)::int,
                  sum(added_failed)::int
             from block_minute where block_id in ('brittle', 'moved-in') group by 1 order by 1"""
    )

    assert sorted(row["subject"] for row in rows) == ["block:brittle", f"run:{goes_on.run_id}"]
    assert [tuple(one) for one in figures] == [
        ("brittle", 10, 10, 0, 10),
        ("moved-in", 0, 0, 0, 20),
    ]


@pytest.mark.slow
async def test_stuck_runs_are_told_of_and_over_when_they_move(
    place: Installation, tally: Worker
) -> None:
    """A step runs for an hour where its like take a quarter of a second. Not stuck are the step of
    a block without a history, and the run that was heard of just now."""
    then = {"at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    runs = {block: Orders(run_id=str(uuid4())) for block in ("known", "unknown", "busy")}
    for block in ("known", "busy"):
        await history(place, block, ended=10_000, failed=0, classes={})
    for block, orders in runs.items():
        await place.put([orders.create(orders.node("a", block_id=block), **then)])
        await place.put([orders.start(**then), orders.move_step("a", "RUNNING", **then)])
    at = datetime.now(UTC).isoformat()
    await place.put([runs["busy"].emit("a", at=at)])
    [row] = await opened(place)
    await place.put([runs["known"].move_step("a", "COMPLETED", at=at)])
    await until(lambda: place.db.fetchval("select closed_at from alert"))
    told = await place.db.fetch("select type from alert_message order by id")

    figures = json.loads(row["figures"])
    assert (row["kind"], str(row["graph_exec_id"])) == ("stuck", runs["known"].run_id)
    assert figures["at_open"]["probability"] == pytest.approx(1 / 10_002, rel=0.01)
    assert figures["node_exec_id"] == runs["known"].named("a")
    assert [message["type"] for message in told] == ["alert.opened", "alert.closed"]


async def test_what_a_sender_dates_back_raises_nothing(place: Installation, tally: Worker) -> None:
    """It counts where it is dated, and nowhere else."""
    then = datetime.now(UTC) - timedelta(days=41)
    await end_steps(place, "back", ["boom"] * 20, then)
    await end_steps(place, "brittle", ["boom"] * 10)
    rows = await opened(place)
    minutes = await place.db.fetch(
        "select * from block_minute where block_id = 'back' and ended > 0"
    )

    assert [row["block_id"] for row in rows] == ["brittle"]
    assert sum(row["failed"] for row in minutes) == 20
    assert max(row["minute"] for row in minutes) < then + timedelta(hours=1)


async def test_one_users_stuck_runs_leave_room_for_others(
    place: Installation, tally: Worker
) -> None:
    """A run of another user has an alert although many runs have been silent for longer: those of a
    user with a wrong clock, some of which have one.
    """
    await history(place, "known", ended=10_000, failed=0, classes={})
    others = Orders(run_id=str(uuid4()))
    many = [Orders(run_id=str(uuid4()), user_id="eve") for _ in range(MOST_OF_USER + 5)]
    for orders in (*many, others):
        silent = timedelta(hours=1) if orders is others else timedelta(days=3)
        then = {"at": (datetime.now(UTC) - silent).isoformat()}
        await place.put([orders.create(orders.node("a", block_id="known"), **then)])
        await place.put([orders.start(**then), orders.move_step("a", "RUNNING", **then)])

    async def are_all_raised() -> bool:
        found = await place.db.fetchval("select count(*) from alert where kind = 'stuck'")
        return bool(found > MOST_OF_USER)

    await until(are_all_raised)
    raised = await place.db.fetch("select graph_exec_id::text as run from alert")
    await place.put([orders.move("TERMINATED") for orders in (*many, others)])

    assert others.run_id in {row["run"] for row in raised}
    assert len(raised) == MOST_OF_USER + 1


@pytest.mark.slow
async def test_no_run_is_stuck_for_its_senders_clock(place: Installation, tally: Worker) -> None:
    """A run with times 41 days back, which was never silent for 40, has no alert; one with an open
    alert keeps it.
    """
    await history(place, "slow", ended=10_000, failed=0, classes={})
    runs = {days: Orders(run_id=str(uuid4())) for days in (41, 2)}
    for days, orders in runs.items():
        then = {"at": (datetime.now(UTC) - timedelta(days=days)).isoformat()}
        await place.put([orders.create(orders.node("a", block_id="slow"), **then)])
        await place.put([orders.start(**then), orders.move_step("a", "RUNNING", **then)])
    await opened(place)
    await place.db.execute(
        "update graph_execution set updated_at = updated_at - interval '40 days' where id = $1",
        runs[2].run_id,
    )
    since = await place.db.fetchval("select figures ->> 'silent_since' from alert")

    async def is_looked_at_again() -> Any:
        seen = await place.db.fetchval("select figures ->> 'silent_since' from alert")
        return seen != since

    await until(is_looked_at_again)
    rows = await place.db.fetch("select graph_exec_id::text as run, closed_at from alert")
    await place.put([orders.move("TERMINATED") for orders in runs.values()])

    assert [tuple(row) for row in rows] == [(runs[2].run_id, None)]


def test_tries_get_rarer() -> None:
    """One second, two, four, up to some minutes."""
    assert [pause_after(tries) for tries in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert pause_after(10_000) == LONGEST_PAUSE
