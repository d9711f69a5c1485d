"""Each command that `verify` prints, run as printed, mends the difference it was printed for."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from execstream.devstack import Addresses
from execstream.recovery.verify.report import MEND_ALL, REBUILD
from execstream.streams.topics import BLOCK_STATS
from tests.agents.tallied import counted, published, stored_totals, totals
from tests.recovery.lived import lived, simulated, tallying
from tests.recovery.runbooks import Shell, Step, own_database
from tests.worker import Installation, until

SIMULATED = 300  # commands


def a_run(number: int) -> str:
    """One of the runs; damages of one test have different ones."""
    return f"""(
        select id from graph_execution where not is_deleted and last_seq > 3
         order by created_at, user_id, graph_id offset {number} limit 1)"""


# Changes by hand, by the kind of the resulting difference. Mended in place:
ROWS = {
    "graph_execution": f"update graph_execution set updated_at = now() where id = {a_run(0)}",
    "node_execution": f"""
        update node_execution set status = 'REVIEW' where id = (
            select id from node_execution where graph_exec_id = {a_run(1)} limit 1)""",
    "node_execution of no run": f"""
        update node_execution set graph_exec_id = gen_random_uuid() where id = (
            select id from node_execution where graph_exec_id = {a_run(2)} limit 1)""",
    "kv_data": "update kv_data set data = '7'",
    "block_total": "update block_total set ended = ended + 1000",
    "node_day": "delete from node_day",
}
# Not in the remaining journal, and mended by a replay:
LOG = {
    "node_execution that nothing tells of": """
        insert into node_execution
        select (jsonb_populate_record(n, jsonb_build_object(
                    'id', gen_random_uuid(), 'graph_exec_id', gen_random_uuid()))).*
          from node_execution n limit 1""",
    "graph_execution under another id": f"""
        update graph_execution set id = gen_random_uuid() where id = {a_run(0)}""",
    "journal": f"""
        update journal set was = 'REVIEW' where graph_exec_id = {a_run(1)} and seq = 3""",
    "journal with a gap": f"delete from journal where graph_exec_id = {a_run(2)} and seq = 2",
    "journal of a run": f"delete from journal where graph_exec_id = {a_run(3)}",
    "kv_journal": "delete from kv_journal where data = '1'",
    "refusal": "delete from refusal where source_offset = (select max(source_offset) from refusal)",
    "dead_letter": "update dead_letter set value = 'other' where reason = 'unknown_type'",
}


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation with a database of its own, for schemas have names that all would use."""
    async with (
        own_database(stack) as own,
        lived(own, tmp_path_factory.mktemp("logs"), SIMULATED) as living,
    ):
        yield living


@pytest.fixture
def shell(place: Installation, tmp_path: Path) -> Shell:
    return Shell(tmp_path, place.settings)


async def found(shell: Shell) -> list[dict[str, Any]]:
    """The differences that `verify --all` reports."""
    said = await shell.run(Step("execstream verify --all --json || test $? = 1", ""))
    differences: list[dict[str, Any]] = json.loads(said)["differences"]
    return differences


async def mended_as_printed(place: Installation, shell: Shell, *kinds: str) -> set[str]:
    """Differences of these kinds are found, and none any more once all commands were run, which are
    returned."""
    differences = await found(shell)
    assert {one["kind"] for one in differences} >= set(kinds), differences
    commands = dict.fromkeys(one["mend"] for one in differences)
    # Mending reports a rest as long as there is one.
    for command in sorted(commands, key=lambda command: command != REBUILD):
        await shell.run(Step(command, ""))
        await place.db.execute("drop schema if exists rebuilt cascade")
        await place.db.expire_connections()
    assert await found(shell) == []
    return set(commands)


async def damaged(place: Installation, damages: Mapping[str, str]) -> set[str]:
    """Do all the damage; the kinds of difference that it makes."""
    for statement in damages.values():
        assert await place.db.execute(statement) not in ("UPDATE 0", "DELETE 0")
    return {name.partition(" ")[0] for name in damages}


@pytest.mark.slow
async def test_rows(place: Installation, shell: Shell) -> None:
    """Rows that follow from the journal are mended in place."""
    commands = await mended_as_printed(place, shell, *await damaged(place, ROWS))
    assert REBUILD not in commands


@pytest.mark.slow
async def test_the_log(place: Installation, shell: Shell) -> None:
    """Rows that follow only from the topics are mended by a replay of these."""
    commands = await mended_as_printed(place, shell, *await damaged(place, LOG))
    assert REBUILD in commands


@pytest.mark.slow
async def test_entries_of_the_journal(place: Installation, shell: Shell) -> None:
    """They are put right where they are, without a rebuild."""
    damages = {name: LOG[name] for name in ("journal", "journal with a gap")}
    commands = await mended_as_printed(place, shell, *await damaged(place, damages))
    assert commands == {MEND_ALL}


@pytest.mark.slow
async def test_one_at_a_time(place: Installation, shell: Shell) -> None:
    """A gap alone, for there a journal is of no use, and a step alone, which no run has."""
    for name in ("journal with a gap", "node_execution that nothing tells of"):
        await mended_as_printed(place, shell, *await damaged(place, {name: LOG[name]}))


@pytest.mark.slow
async def test_what_nobody_counted_is_told_of_blocks(place: Installation, shell: Shell) -> None:
    """In the topic of block-stats a value beyond all that was counted, one with other figures, one
    of a block that there is not, and one that is none."""
    await until(lambda: _is_told(place))
    row = await place.db.fetchrow("select * from block_total order by source_partition limit 1")
    partition, block_id = row["source_partition"], row["block_id"]
    right = next(
        value
        for value in await _values(place)
        if (value["source_partition"], value["block_id"]) == (partition, block_id)
    )
    offset, index = right["position"]
    for key, value in {
        f"{partition}|{block_id}": right | {"ended": 7},
        f"{partition}|nobody": right | {"block_id": "nobody"},
        f"{partition}|unreadable": "?",
    }.items():
        await _told(place, partition, key, value)
    await mended_as_printed(place, shell, "block_stats")

    beyond = right | {"position": [offset + 10**6, index], "ended": 7}
    await _told(place, partition, f"{partition}|{block_id}", beyond)
    await mended_as_printed(place, shell, "block_stats")
    assert await published(place) == await totals(place)


@pytest.mark.slow
async def test_what_is_taken_away_last(place: Installation, shell: Shell) -> None:
    """A tally goes on in a topic with a tombstone as its last record."""
    for partition in range(8):
        await _told(place, partition, f"{partition}|nobody", {"position": [0, 0]})
    await mended_as_printed(place, shell, "block_stats")
    async with tallying(place):
        await _goes_on(place, shell, seed=5)


@pytest.mark.slow
async def test_what_the_tally_told_of_wrong_totals(place: Installation, shell: Shell) -> None:
    """A tally that began with totals changed by hand, and published them, publishes the right ones
    once they are mended, and continues from these.
    """
    await place.db.execute(
        "update block_total set ended = ended + 1000, position_offset = position_offset + 1000000"
    )
    async with tallying(place):  # both workers begin again, with the current totals
        await until(lambda: _is_told(place))
        await mended_as_printed(place, shell, "block_total")
        assert await published(place) == await totals(place)
        await _goes_on(place, shell, seed=6)


async def _is_told(place: Installation) -> bool:
    return await published(place) == await stored_totals(place)


async def _goes_on(place: Installation, shell: Shell, seed: int) -> None:
    await place.put(simulated(100, seed))
    await place.drained()
    await counted(place)
    assert await found(shell) == []


async def _values(place: Installation) -> list[dict[str, Any]]:
    """All values in the topic of block-stats, newest first."""
    ends = {number: end for number, end in (await place._ends(BLOCK_STATS.name)).items() if end}
    records = await place._read(
        BLOCK_STATS.name,
        lambda seen: all(n in seen and seen[n].offset + 1 >= end for n, end in ends.items()),
    )
    return [json.loads(one.value) for one in reversed(records) if one.value]


async def _told(place: Installation, partition: int, key: str, value: Any) -> None:
    topic = place.topic(BLOCK_STATS.name)
    await place.producer.send_and_wait(
        topic, json.dumps(value).encode(), key.encode(), partition=partition
    )
