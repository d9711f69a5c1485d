"""`offsets`: positions of consumers, and their moves into a recreated topic."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from execstream.devstack import Addresses
from execstream.kafka.admin import apply_topics
from execstream.recovery.verify.verify import Asked, verify
from execstream.streams.topics import COMMANDS, EVENTS
from tests.agents.tallied import eventually_equal, published, totals
from tests.orders import Orders
from tests.recovery.lived import tallying, untold
from tests.recovery.runbooks import Shell, Step
from tests.whole.program import Program, Result
from tests.worker import Installation, installation, until


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics and tables of a test's own."""
    async with installation(stack, tmp_path) as own:
        yield own


async def lost_and_made_again(place: Installation, *names: str) -> None:
    """Delete topics and make them anew, empty."""
    await lost(place, *names)
    await apply_topics(place.settings.kafka, place.settings.topic_prefix, 1)


async def lost(place: Installation, *names: str) -> None:
    """Delete topics, and wait until they are gone."""
    async with administering(place) as admin:
        await admin.delete_topics([place.topic(name) for name in names])

        async def are_gone() -> bool:
            found = await admin.list_topics()
            return not {place.topic(name) for name in names} & set(found)

        await until(are_gone)


async def overtaken(place: Installation, name: str) -> None:
    """Delete all records of a topic, as its retention does."""
    ends = (await place._ends(name)).items()
    async with administering(place) as admin:
        await admin.delete_records(
            {TopicPartition(place.topic(name), n): RecordsToDelete(end) for n, end in ends}
        )


@asynccontextmanager
async def administering(place: Installation) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def sent(place: Installation, run: Orders) -> None:
    """A run with a step that failed, and a record that is no command, all committed."""
    async with place.worker(), tallying(place):
        await place.put([run.create(run.node("a")), run.raw(b"bad"), run.start()])
        await place.put([run.move_step("a", "RUNNING"), run.move_step("a", "FAILED")])
        await place.drained()

        async def is_counted() -> bool:
            failed = await place.db.fetchval("select sum(failed) from block_total")
            runs = await place.db.fetchval("select count(*) from graph_execution")
            return bool(failed == runs)

        await until(is_counted)
        assert not await eventually_equal("blocks", await totals(place), lambda: published(place))


@pytest.mark.slow
async def test_going_on_in_topics_that_were_made_again(place: Installation, tmp_path: Path) -> None:
    """Positions beyond the topics' ends are shown and make `verify` fail; rebased, workers go on
    with new records, and sources continue above the old ones.
    """
    program = Program(tmp_path, place.settings.environment())

    async def run(*arguments: str) -> Result:
        return await program(*arguments)

    await sent(place, first := Orders())
    refused = await run("offsets", "rebase", "commands")
    assert (refused.code, refused.out) == (1, "")
    assert "--force" in refused.err

    await lost_and_made_again(place, COMMANDS.name, EVENTS.name)
    shown = await run("offsets", "show", "--json")
    outside = {one["consumer"] for one in shown.json_lines() if one["state"] == "above"}
    assert (shown.code, outside) == (1, {"apply", "tally"})
    settings = place.settings
    assert (await verify(settings, Asked((first.run_id,)), untold)).is_good
    sampled = await verify(settings, Asked(runs=5), untold)
    assert {one.mend for one in sampled.differences} == {
        "execstream offsets rebase commands",
        "execstream offsets rebase events",
    }

    for topic in ("commands", "events"):
        assert (await run("offsets", "rebase", topic)).code == 0
    await sent(place, Orders())
    verified = await run("verify", "--all")
    assert verified.code == 0, verified
    assert verified.out.endswith("ok\n")


@pytest.mark.slow
async def test_what_verify_prints_gets_workers_on(place: Installation, tmp_path: Path) -> None:
    """Topics that are gone, and topics with retention that overtook their consumers: the commands
    that are printed, as they are printed, and workers go on.
    """
    program, shell = (
        Program(tmp_path, place.settings.environment()),
        Shell(tmp_path, place.settings),
    )

    async def put_right(start: str) -> None:
        verified = await program("verify", "--json")
        mends = {one["mend"] for one in verified.json()["differences"]}
        assert {one.partition(" commands")[0].partition(" events")[0] for one in mends} == {start}
        for command in mends:
            await shell.run(Step(command, ""))
        assert (await program("verify")).code == 0

    await sent(place, Orders())
    refused = await program("offsets", "skip", "commands")
    assert (refused.code, "No position is below" in refused.err) == (1, True)
    await lost(place, COMMANDS.name, EVENTS.name)
    await put_right("execstream topics apply && execstream offsets rebase")
    await sent(place, Orders())

    await place.put([(run := Orders()).create(), run.start()])
    async with place.worker():
        await place.drained()
    await place.put([run.move("COMPLETED"), run.move("RUNNING")])
    for name in (COMMANDS.name, EVENTS.name):
        await overtaken(place, name)
    await put_right("execstream offsets skip")
    skipped = await program("offsets", "show", "--json")
    assert {one["lag"] for one in skipped.json_lines()} == {0}
    async with place.worker():
        await place.put([run.move("FAILED")])
        await place.drained()
    assert (
        await place.db.fetchval("select status from graph_execution where id = $1", run.run_id)
        == "FAILED"
    )
