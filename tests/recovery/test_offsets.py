"""`offsets`: where consumers are, and what gets them into a topic that was lost and made again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from agents.topics import apply_topics
from devstack import Addresses
from execstream.recovery.verify.run import Asked, verify
from streams.topics import COMMANDS, EVENTS
from tests.agents.tallied import eventually_equal, published, totals
from tests.orders import Orders
from tests.recovery.lived import settings_of, tallying, untold
from tests.whole.program import Program, Result, variables
from tests.worker import Installation, installation, until


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics and tables of a test's own."""
    async with installation(stack, tmp_path) as own:
        yield own


async def lost_and_made_again(place: Installation, *names: str) -> None:
    """Delete topics and make them anew, empty."""
    bootstrap = place.config.kafka_bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([place.topic(name) for name in names])

        async def are_gone() -> bool:
            found = await admin.list_topics()
            return not {place.topic(name) for name in names} & set(found)

        await until(are_gone)
    finally:
        await admin.close()
    await apply_topics(bootstrap, place.config.topic_prefix, 1)


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


async def test_going_on_in_topics_that_were_made_again(place: Installation, tmp_path: Path) -> None:
    """Positions beyond the topics' ends are shown and make `verify` fail; rebased, workers go on
    with what comes, and sources go on above the old ones."""
    program = Program(tmp_path, variables(place.config))

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
    settings = settings_of(place.config)
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
