"""Totals that were counted by one definition after another are recounted by those that held."""

from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from uuid import uuid4

import msgspec
import pytest

from execstream.devstack import Addresses
from execstream.recovery.verify.verify import Asked, verify
from execstream.storage.commit.totals import commit_tally
from execstream.storage.connections import WRITE, connection
from execstream.storage.log.events import events_after
from execstream.storage.schema.tables import TOTALS
from execstream.streams.events import NOWHERE
from execstream.streams.imported import HEADERS, LIVE_SPAN
from execstream.streams.topics import EVENTS
from execstream.streams.totals.aggregation import Tally, decode_fact
from execstream.streams.totals.definitions import Definitions, definition
from tests.agents.alerted import end_steps
from tests.agents.tallied import counted
from tests.comparing import assert_equal, reference_of
from tests.orders import Orders
from tests.recovery.lived import FROM_JOURNAL, FROM_TOPICS, drop, replayed, untold
from tests.worker import Installation, installation

# A worker that is stopped as soon as it has counted leaves the topic to the next one.
UNPUBLISHED = {"block_stats"}


async def count_as_0_1(place: Installation) -> None:
    """Have the totals be those that 0.1.0 would have counted so far."""
    events = place.topic(EVENTS.name)
    async with connection(place.settings.postgres, place.settings.schema_, WRITE) as own:
        for table in TOTALS:
            await own.execute(f"delete from {table.name}")
        for partition in range(EVENTS.partitions):
            tally = Tally(Definitions(definition(1)))
            page = await events_after(own, partition, NOWHERE, 2**62)
            for event in page.events:
                tally.count(decode_fact(event.value))
            await commit_tally(own, "tally", events, [], tally)
        await own.execute("update totals_definition set version = 1")


async def tally(place: Installation, rules: Path) -> None:
    """Have a worker count all events there are, with the rules of `rules`."""
    worker = await place.start_worker("tally", class_rules_file=str(rules))
    await place.drained()
    await place.events()  # they follow the commit
    await counted(place)
    assert await worker.stop() == 0


async def fail(place: Installation, error: str) -> None:
    """A run with a step that fails."""
    orders = Orders(run_id=str(uuid4()))
    await place.put([orders.create(orders.node("a")), orders.start()])
    await place.put([orders.move_step("a", "RUNNING")])
    await place.put([orders.move_step("a", "FAILED", stats={"error": error})])


@pytest.mark.slow
async def test_what_other_rules_judged_is_recounted_by_these(
    stack: Addresses, tmp_path: Path
) -> None:
    """Neither `verify` nor a rebuild, from either source, finds a difference, though a file of
    rules was changed and is gone; figures of before stay as they were counted."""
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text("[[rule]]\nclass = 'input'\ncontains = 'odd'\n")
    other.write_text("[[rule]]\nclass = 'outage'\ncontains = 'odd'\n")
    async with installation(stack, tmp_path) as place, place.worker():
        for rules in (one, other, other):
            await fail(place, "an odd error")
            await tally(place, rules)
        report = await verify(place.settings, Asked(), untold)
        schemas = [f"{place.settings.schema_}_{name}" for name in ("journal", "topics")]
        rebuilt = [
            await replayed(place, schema, asked)
            for schema, asked in zip(schemas, (FROM_JOURNAL, FROM_TOPICS), strict=True)
        ]
        held = await place.db.fetch("select distinct rules from totals_definition")
        classes = await place.db.fetchval("select sum_counts(error_classes) from block_minute")
        await drop(place.db, *schemas)

    assert {one.kind for one in report.differences} <= UNPUBLISHED
    assert [one.proof is not None and one.proof.is_equal for one in rebuilt] == [True, True]
    assert len(held) == 2
    assert msgspec.json.decode(classes) == {"input": 1, "outage": 2}


async def test_skewed_steps_are_recounted_as_such(stack: Addresses, tmp_path: Path) -> None:
    """They are recounted from the events, from the journal, and from the records with the topic's
    append times.
    """
    rules = tmp_path / "none.toml"
    rules.touch()
    ahead = {"at": (datetime.now(UTC) + timedelta(hours=2)).isoformat()}
    orders = Orders(run_id=str(uuid4()))
    names = ["a", "b", "c"]
    async with installation(stack, tmp_path) as place, place.worker():
        await place.put([orders.create(*map(orders.node, names)), orders.start()])
        await place.put([orders.move_steps(names, "RUNNING"), orders.move_step("a", "COMPLETED")])
        await place.put([orders.move_step("b", "FAILED", **ahead)])
        await place.put([orders.move("TERMINATED", **ahead)])
        await tally(place, rules)
        report = await verify(place.settings, Asked(), untold)
        schemas = [f"{place.settings.schema_}_{name}" for name in ("journal", "topics")]
        rebuilt = [
            await replayed(place, schema, asked)
            for schema, asked in zip(schemas, (FROM_JOURNAL, FROM_TOPICS), strict=True)
        ]
        figures = [
            await place.db.fetchrow(
                f"""select sum(ended)::int, sum(failed)::int, sum(cascaded)::int,
                           sum(skewed)::int from {schema}.block_minute"""
            )
            for schema in (place.settings.schema_, *schemas)
        ]
        marked = await place.db.fetch(
            "select type from journal where detail ? 'skewed' order by seq"
        )
        await assert_equal(place, await reference_of(place))
        await drop(place.db, *schemas)

    assert {one.kind for one in report.differences} <= UNPUBLISHED
    assert [one.proof is not None and one.proof.is_equal for one in rebuilt] == [True, True]
    assert [tuple(row) for row in figures] == [(1, 0, 0, 2)] * 3
    assert [row["type"] for row in marked] == ["node.updated", "graph.updated", "node.updated"]


async def test_imported_steps_are_recounted_as_such(stack: Addresses, tmp_path: Path) -> None:
    """From the journal, and from the records with their header and the topic's append times: those
    of the last days are in `added` and in the cost only, older ones are counted like any."""
    rules = tmp_path / "none.toml"
    rules.touch()
    now = datetime.now(UTC)
    async with installation(stack, tmp_path) as place, place.worker():
        for at in (now - LIVE_SPAN - timedelta(minutes=1), now - LIVE_SPAN + timedelta(minutes=9)):
            orders = Orders(run_id=str(uuid4()))
            await end_steps(place, "moved-in", ["ok", "boom"], at, HEADERS)
            past = [orders.create(orders.node("a"), at=at.isoformat())]
            past.append(orders.move_step("a", "TERMINATED", at=at.isoformat()))
            await place.put(one._replace(headers=HEADERS) for one in past)
        await tally(place, rules)
        report = await verify(place.settings, Asked(), untold)
        schemas = [f"{place.settings.schema_}_{name}" for name in ("journal", "topics")]
        rebuilt = [
            await replayed(place, schema, asked)
            for schema, asked in zip(schemas, (FROM_JOURNAL, FROM_TOPICS), strict=True)
        ]
        figures = [
            await place.db.fetchrow(
                f"""select sum(added)::int, sum(added_failed)::int, sum(ended)::int,
                           sum(failed)::int, sum(terminated)::int,
                           (select sum(completed)::int from {schema}.graph_minute)
                      from {schema}.block_minute"""
            )
            for schema in (place.settings.schema_, *schemas)
        ]
        await drop(place.db, *schemas)

    assert {one.kind for one in report.differences} <= UNPUBLISHED
    assert [one.proof is not None and one.proof.is_equal for one in rebuilt] == [True, True]
    assert [tuple(row) for row in figures] == [(6, 2, 2, 1, 1, 1)] * 3


@pytest.mark.slow
async def test_fingerprints_beyond_the_bound_are_recounted_as_such(
    stack: Addresses, tmp_path: Path
) -> None:
    """The first 200 of a block and hour, and of a run, are kept, in any recount and any batches;
    later ones count together, with the last step that failed so.
    """
    rules = tmp_path / "none.toml"
    rules.touch()
    orders = Orders(run_id=str(uuid4()))
    names = ["".join(letters) for letters in product(ascii_lowercase, repeat=2)][:230]
    # The last step fails as the first of its batch does.
    texts = {name: name for name in names} | {names[220]: names[-1]}
    at = {"at": (datetime.now(UTC).replace(minute=30) - timedelta(hours=1)).isoformat()}
    async with installation(stack, tmp_path) as place, place.worker():
        await place.put([orders.create(*map(orders.node, names), **at), orders.start(**at)])
        await place.put([orders.move_steps(names, "RUNNING", **at)])
        for some in (names[:150], names[150:220], reversed(names[220:])):
            await place.put(
                orders.move_step(name, "FAILED", stats={"error": f"odd {texts[name]}"}, **at)
                for name in some
            )
            await tally(place, rules)
        report = await verify(place.settings, Asked(), untold)
        schemas = [f"{place.settings.schema_}_{name}" for name in ("journal", "topics")]
        rebuilt = [
            await replayed(place, schema, asked)
            for schema, asked in zip(schemas, (FROM_JOURNAL, FROM_TOPICS), strict=True)
        ]
        errors = await place.db.fetch("select * from block_error order by failures, fingerprint")
        of_run = await place.db.fetch("select * from run_error order by failures, fingerprint")
        await drop(place.db, *schemas)

    *kept, other = errors
    assert {one.kind for one in report.differences} <= UNPUBLISHED
    assert [one.proof is not None and one.proof.is_equal for one in rebuilt] == [True, True]
    assert {row["masked"] for row in kept} == {f"odd {name}" for name in names[:200]}
    assert (other["fingerprint"], other["class"], other["failures"]) == ("other", "other", 30)
    assert (other["masked"], str(other["node_exec_id"])) == (
        "other errors",
        orders.named(names[220]),
    )
    shared = ("fingerprint", "class", "failures", "node_exec_id", "last_at")
    *kept_of_run, other_of_run = of_run
    assert [other_of_run[name] for name in shared] == [other[name] for name in shared]
    assert other_of_run["block_id"] == "other"
    fingerprints = {row["fingerprint"] for row in kept}
    assert {row["fingerprint"] for row in kept_of_run} == fingerprints


async def test_what_0_1_counted_stays_right(stack: Addresses, tmp_path: Path) -> None:
    """A step that a cancelled run took along was a failure then, and is none from the next on."""
    rules = tmp_path / "none.toml"
    rules.touch()
    async with installation(stack, tmp_path) as place, place.worker():
        for number in range(2):
            orders = Orders(run_id=str(uuid4()))
            await place.put([orders.create(orders.node("a")), orders.start()])
            await place.put([orders.move_step("a", "RUNNING"), orders.move("TERMINATED")])
            await tally(place, rules)
            if number == 0:
                await count_as_0_1(place)
        report = await verify(place.settings, Asked(), untold)
        figures = await place.db.fetchrow(
            "select sum(ended)::int, sum(failed)::int, sum(cascaded)::int from block_minute"
        )

    assert {one.kind for one in report.differences} <= UNPUBLISHED
    assert tuple(figures) == (1, 1, 1)
