"""Replays into a schema beside the live one: their rows, proofs and refusals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from execstream.devstack import Addresses
from execstream.recovery.replay.bounds import Asked, OutOfReach
from execstream.recovery.replay.shadow_schema import NotThatRebuild
from execstream.streams.topics import COMMANDS
from tests.orders import Orders
from tests.recovery.lived import FROM_JOURNAL, delete_before, drop, erased, lived, replayed
from tests.whole.program import Program
from tests.worker import HOME, Installation, installation, until

SETTLED, PAUSED = 0.5, 1.5  # seconds after which a stopped replay has written all, and of its pause


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    async with lived(stack, tmp_path_factory.mktemp("logs"), 3_000) as own:
        yield own


@pytest.fixture
async def schema(place: Installation) -> AsyncIterator[str]:
    """The name of a schema to rebuild into."""
    name = f"{place.settings.schema_}_rebuilt"
    yield name
    await drop(place.db, name)


@pytest.mark.slow
@pytest.mark.promise
async def test_a_rebuild_from_the_topics_is_the_same(place: Installation, schema: str) -> None:
    """Rows of every kind, totals and counts have equal hashes, and none is missing."""
    proof = (await replayed(place, schema)).proof
    assert proof is not None
    assert (proof.differences, proof.differing, proof.left_out) == ([], {}, [])
    for table, rows in proof.rows.items():
        where = "where consumer = 'apply'" if table == "consumer_offset" else ""
        assert rows == await place.db.fetchval(f"select count(*) from {table} {where}")
        assert rows > 0, table


async def test_a_rebuild_from_the_journal_is_the_same(place: Installation, schema: str) -> None:
    """Runs, steps, journal, key-values and totals come out of the journal as they were."""
    proof = (await replayed(place, schema, FROM_JOURNAL)).proof
    assert proof is not None
    assert (proof.differences, proof.differing) == ([], {})
    assert proof.left_out == [
        "refusals and dead letters, which were copied",
        "counts of outcomes, which the journal does not have",
    ]
    assert "block_minute" in proof.rows


_ONE = "(tableoid, ctid) = (select tableoid, ctid from {} limit 1)"


async def test_what_was_changed_by_hand_is_told(place: Installation, schema: str) -> None:
    """A cell that was changed in the live schema is found, with both values, whatever its table;
    so are rows that were taken away and rows that were added."""
    await replayed(place, schema)
    changed: dict[tuple[str, str], str] = {
        ("graph_execution", "status"): "status = 'REVIEW'",
        ("node_execution", "block_id"): "block_id = 'another'",
        ("journal", "at"): "at = at + interval '1 microsecond'",
        ("kv_data", "data"): "data = '0.5'",
        ("kv_journal", "node_exec_id"): "node_exec_id = gen_random_uuid()",
        ("refusal", "reason"): "reason = 'deleted' || reason",
        ("dead_letter", "value"): r"value = coalesce(value, '') || '\x00'",
        ("block_minute", "histogram"): "histogram = histogram || '{\"7\": 1}'",
        ("user_day", "cost"): "cost = cost + 1",
    }
    async with place.db.acquire() as connection:
        for table, change in ((table, change) for (table, _), change in changed.items()):
            await connection.execute(f"create table kept_{table} as select * from {table}")
            await connection.execute(f"update {table} set {change} where {_ONE.format(table)}")
        await connection.execute("create table kept_node_day as select * from node_day")
        await connection.execute(f"delete from node_day where {_ONE.format('node_day')}")
    try:
        proof = (await replayed(place, schema)).proof
    finally:
        await _put_back(place, {table for table, _ in changed} | {"node_day"})
    assert proof is not None
    told = {(one.table, one.column): (one.live, one.rebuilt) for one in proof.differences}
    assert told.keys() == changed.keys() | {("node_day", "*")}
    assert told["graph_execution", "status"][0] == "REVIEW"
    assert told["node_day", "*"] == ("missing", "there")
    assert all(live != rebuilt for live, rebuilt in told.values())
    assert set(proof.differing.values()) == {1}


async def test_the_wording_of_dead_letters_is_not_compared(
    place: Installation, schema: str
) -> None:
    """Messages that an older version wrote differ in nothing; other parts of a detail do."""
    await place.db.execute("create table kept_dead_letter as select * from dead_letter")
    changed = """update dead_letter set detail = detail || '{"message": "in other words"}'"""
    assert await place.db.execute(changed) != "UPDATE 0"
    try:
        proof = (await replayed(place, schema)).proof
        assert proof is not None
        assert proof.differences == []
        await drop(place.db, schema)
        await place.db.execute("""update dead_letter set detail = detail || '{"path": "$"}'""")
        proof = (await replayed(place, schema)).proof
    finally:
        await _put_back(place, {"dead_letter"})
    assert proof is not None
    assert {(one.table, one.column) for one in proof.differences} == {("dead_letter", "detail")}


async def _put_back(place: Installation, tables: set[str]) -> None:
    for table in tables:
        await place.db.execute(
            f"delete from {table}; insert into {table} select * from kept_{table};"
            f"drop table kept_{table}"
        )


@pytest.mark.slow
async def test_a_replay_that_is_killed_goes_on(place: Installation, schema: str) -> None:
    """Killed five times in the middle, twice without the processes it started, a replay still
    makes the same."""
    total = sum((await _ends(place)).values())
    for number in range(5):
        with_children = number % 2 == 0
        await _replay_until_killed(place, schema, (number + 1) * total // 9, with_children)
    assert await _replayed(place, schema) < total
    proof = (await replayed(place, schema)).proof
    assert proof is not None
    assert (proof.differences, proof.differing, proof.left_out) == ([], {}, [])


async def test_a_replay_is_paused_and_interrupted(place: Installation, schema: str) -> None:
    """Stopped, as by Ctrl-Z, it writes nothing; continued, it ends at Ctrl-C with a sentence, and
    the same command makes the same."""
    total = sum((await _ends(place)).values())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.recovery.replaying", schema),
        cwd=HOME,
        env=os.environ | place.settings.environment(),
        start_new_session=True,
        stderr=asyncio.subprocess.PIPE,
    )

    async def goes_on(count: int) -> None:
        async def is_there() -> bool:
            assert process.returncode is None
            return await _replayed(place, schema) > count

        await until(is_there)

    try:
        await goes_on(total // 9)
        os.killpg(process.pid, signal.SIGSTOP)
        await asyncio.sleep(SETTLED)
        count = await _replayed(place, schema)
        await asyncio.sleep(PAUSED)
        assert await _replayed(place, schema) == count
        process.send_signal(signal.SIGINT)  # it comes when the process is continued
        os.killpg(process.pid, signal.SIGCONT)
        _, said = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert f"the same command continues the rebuild in {schema}" in said.decode()
    assert await _replayed(place, schema) < total
    proof = (await replayed(place, schema)).proof
    assert proof is not None
    assert (proof.differences, proof.differing) == ([], {})


async def _replay_until_killed(
    place: Installation, schema: str, count: int, with_children: bool
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.recovery.replaying", schema),
        cwd=HOME,
        env=os.environ | place.settings.environment(),
        start_new_session=True,
    )

    async def is_there() -> bool:
        assert process.returncode is None
        return await _replayed(place, schema) >= count

    try:
        await until(is_there)
        started = psutil.Process(process.pid).children(recursive=True)
    finally:
        os.killpg(process.pid, signal.SIGKILL) if with_children else process.kill()
        await process.wait()

    async def are_gone() -> bool:
        return not any(one.is_running() for one in started)

    await until(are_gone)


async def _replayed(place: Installation, schema: str) -> int:
    """The number of commands that have taken effect in `schema`."""
    is_there = "select to_regclass($1) is not null"
    if not await place.db.fetchval(is_there, f"{schema}.replay_plan"):
        return 0
    count: int | None = await place.db.fetchval(
        f"select sum(next_offset) from {schema}.consumer_offset where consumer = 'apply'"
    )
    return count or 0


async def _ends(place: Installation) -> dict[int, int]:
    return await place._ends(COMMANDS.name)


async def test_an_end_may_be_named(place: Installation, schema: str) -> None:
    """A rebuild that ends at offsets in the middle is the live schema as it was there: runs that
    moved on are left out of the comparison, as are totals."""
    ends = {number: end // 2 for number, end in (await _ends(place)).items()}
    report = await replayed(place, schema, Asked("topics", {}, ends))
    assert report.replayed == sum(ends.values())
    assert report.proof is not None
    assert (report.proof.differences, report.proof.differing) == ([], {})
    assert 0 < report.proof.rows["graph_execution"] < await _count(place, "graph_execution")
    assert 0 < report.proof.rows["journal"] < await _count(place, "journal")
    assert any("moved on" in what for what in report.proof.left_out)


async def test_a_beginning_may_be_named(place: Installation, schema: str) -> None:
    """The state before the beginning is taken from the journal, and later commands are folded on
    it: the whole is the same.
    """
    begins = {number: end // 2 for number, end in (await _ends(place)).items()}
    proof = (await replayed(place, schema, Asked("topics", begins, {}))).proof
    assert proof is not None
    assert (proof.differences, proof.differing) == ([], {})


async def _count(place: Installation, table: str) -> int:
    count: int = await place.db.fetchval(f"select count(*) from {table}")
    return count


async def test_another_schema_is_not_touched(place: Installation, schema: str) -> None:
    """Other schemas are refused as targets of a rebuild, as are the live schema, and a rebuild of
    another kind.
    """
    with pytest.raises(NotThatRebuild, match="is the live schema"):
        await replayed(place, place.settings.schema_)
    await place.db.execute(f"create schema {schema}")
    with pytest.raises(NotThatRebuild, match="is not being rebuilt"):
        await replayed(place, schema)
    await drop(place.db, schema)
    await replayed(place, schema)
    for other in (FROM_JOURNAL, Asked("topics", {}, {0: 1})):
        with pytest.raises(NotThatRebuild, match="from --source topics between other offsets"):
            await replayed(place, schema, other)
    await place.db.execute(f"update {schema}.consumer_offset set topic = 'theirs.' || topic")
    with pytest.raises(NotThatRebuild, match=r"by another installation, from theirs\."):
        await replayed(place, schema)


async def test_erased_runs_stay_erased(place: Installation, schema: str) -> None:
    """A run that was erased is a tombstone in both kinds of rebuilds; its part of the totals comes
    from the topics or is kept at a swap, and the other one reports it.
    """
    await place.put(erased())
    await place.drained()
    proof = (await replayed(place, schema)).proof
    assert proof is not None
    assert (proof.differences, proof.differing, proof.left_out) == ([], {}, [])
    await drop(place.db, schema)
    proof = (await replayed(place, schema, FROM_JOURNAL)).proof
    assert proof is not None
    assert (proof.differences, proof.differing) == ([], {})
    assert proof.left_out[2].startswith("totals from 2026-03-01 to 2026-03-01 on days of runs")


async def test_the_command(place: Installation, schema: str, tmp_path: Path) -> None:
    """`execstream replay` prints the comparison and exits with 0; when rows differ it prints them,
    does not swap, and exits with 1.
    """
    program = Program(tmp_path, place.settings.environment())
    report = (await program("replay", "--into", schema, "--json")).json()
    assert report["equal"]
    assert report["replayed"] == sum((await _ends(place)).values())
    assert report["tables"]["journal"]["rows"] == await _count(place, "journal")
    spoilt, graph = await place.db.fetchrow("select id, graph_id from graph_execution limit 1")
    change = "update graph_execution set graph_id = $2 where id = $1"
    await place.db.execute(change, spoilt, "spoilt")
    told = await program("replay", "--into", schema, "--swap")
    await place.db.execute(change, spoilt, graph)
    assert told.code == 1
    assert f"graph_execution {spoilt} graph_id: live spoilt, rebuilt {graph}" in told.out
    assert told.err.endswith("Not swapped, because rows differ; --force swaps all the same.\n")


async def test_the_topic_must_reach_back(stack: Addresses, tmp_path: Path) -> None:
    """When retention has deleted commands, a replay from the beginning is refused with the rest
    that is left and the ways out; both ways out work.
    """
    async with installation(stack, tmp_path) as place, place.worker():
        orders = [Orders() for _ in range(4)]
        await place.put([one.create(one.node("a")) for one in orders])
        await place.put([one.start() for one in orders])
        await place.drained()
        ends = await _ends(place)
        await delete_before(place, {number: end // 2 for number, end in ends.items()})
        schema = f"{place.settings.schema_}_new"
        with pytest.raises(OutOfReach, match=r"has 4 runs since .*--source journal.*--from"):
            await replayed(place, schema)
        begins = {number: end // 2 for number, end in ends.items()}
        for asked in (FROM_JOURNAL, Asked("topics", begins, {})):
            proof = (await replayed(place, schema, asked)).proof
            assert proof is not None
            assert (proof.differing, proof.rows["graph_execution"]) == ({}, 4)
            await drop(place.db, schema)
