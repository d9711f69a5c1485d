"""`archive`: commands and catalogue in a folder, exactly as the topics had them."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from msgspec import structs

from execstream.devstack import Addresses
from execstream.kafka.header_decoding import records_in
from execstream.recovery.archive.archiving import archiver
from execstream.recovery.archive.folder import Archive
from execstream.recovery.archive.segments import read_facts, write_segment
from execstream.recovery.replay.bounds import Asked, OutOfReach
from execstream.streams.topics import CATALOGUE, COMMANDS
from tests.orders import Orders
from tests.recovery.lived import delete_before, drop, lived, replayed, simulated, untold
from tests.recovery.test_offsets import lost_and_made_again
from tests.whole.program import Program
from tests.worker import HOME, Installation, installation, transacting, until

KILLS = 25
_UNARCHIVED = """
select count(*) from (select distinct run_day from journal) days where day_is_unarchived(run_day)
"""
KEPT = [b"a", b"c", b"d", b"2", b"3"]
SEED = 3


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation that has lived."""
    async with lived(stack, tmp_path_factory.mktemp("archive"), 300) as own:
        await own.producer.send_and_wait(own.topic(CATALOGUE.name), b"{}", b"block:b")
        yield own


@pytest.fixture
async def fresh(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics and tables of a test's own."""
    async with installation(stack, tmp_path) as own:
        yield own


async def archived(place: Installation, folder: Path) -> int:
    """Archive what is new; the number of records."""
    stop = asyncio.get_running_loop().create_future()
    async with archiver(place.settings, folder, lambda _: None) as running:
        await running.run(untold, follow=False, stop=stop)
    return running.archived.records


def records_of(folder: Path, topic: str) -> list[ConsumerRecord]:
    """All records of an archive, by partition and position."""
    return [
        record
        for number, part in Archive(folder).partitions(topic).items()
        for facts, batches in part.read(0)
        for record in records_in(
            TopicPartition(topic, number), batches, facts.begin - facts.identity.base
        )
    ]


async def verified(place: Installation, folder: Path) -> dict[str, object]:
    """What `verify --archive` prints."""
    program = Program(place.folder, place.settings.environment())
    result = await program("verify", "--archive", str(folder), "--json")
    report: dict[str, object] = result.json()
    assert result.code == (0 if report["ok"] else 1), result
    return report


@pytest.mark.slow
async def test_records_are_kept_bit_for_bit(place: Installation, tmp_path: Path) -> None:
    """Bad records, their headers, keys and times are those of the topic; none is missing, none is
    there twice, and nothing is added when nothing is new."""
    count = await archived(place, tmp_path)
    commands = await place.commands()
    assert records_of(tmp_path, place.topic(COMMANDS.name)) == commands
    assert count == len(commands) + 1  # the catalogue
    assert await archived(place, tmp_path) == 0
    report = await verified(place, tmp_path)
    assert (report["ok"], report["records"], report["compared"]) == (True, count, count)


async def test_retention_waits_for_the_archive(place: Installation, tmp_path: Path) -> None:
    """No day is dropped of which the archive lacks commands."""
    await archived(place, tmp_path)
    assert await place.db.fetchval(_UNARCHIVED) == 0
    await place.db.execute("update archived set next_offset = 0")
    assert await place.db.fetchval(_UNARCHIVED) > 0
    await place.db.execute("delete from archived")
    assert await place.db.fetchval(_UNARCHIVED) == 0


async def test_replay_from_the_archive_is_the_same(place: Installation, tmp_path: Path) -> None:
    """Beyond the retention of the topic, the rebuilt rows and totals are the live ones; without
    the archive nothing is rebuilt."""
    await archived(place, tmp_path)
    schema = f"{place.settings.schema_}_archived"
    ends = await place._ends(COMMANDS.name)
    await delete_before(place, {number: end // 2 for number, end in ends.items()})
    try:
        with pytest.raises(OutOfReach):
            await replayed(place, schema)
        proof = (await replayed(place, schema, Asked("topics", {}, {}, tmp_path))).proof
    finally:
        await drop(place.db, schema)
    assert proof is not None
    assert (proof.differences, proof.differing) == ([], {})
    assert sum(proof.rows.values()) > 0


@pytest.mark.slow
async def test_an_archive_that_is_killed_goes_on(fresh: Installation, tmp_path: Path) -> None:
    """Killed at random moments, it leaves whole segments; continued, it has each record once."""
    await fresh.put(simulated(2_500))
    folder, chance = tmp_path / "archive", Random(SEED)
    environment = os.environ | fresh.settings.environment() | {"PYTHONPATH": str(HOME)}
    begun = 0
    for _ in range(KILLS):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.recovery.archiving", str(folder)), env=environment
        )
        await _more_segments(folder, process)
        await asyncio.sleep(chance.uniform(0, 0.05))
        if process.returncode is None:
            begun += 1
            process.kill()
        await process.wait()
        for topic in Archive(folder).topics():
            for part in Archive(folder).partitions(topic).values():
                assert list(part.read(0))
    await archived(fresh, folder)
    assert begun >= 20
    assert records_of(folder, fresh.topic(COMMANDS.name)) == await fresh.commands()
    assert not list(folder.glob("*/*/*.part"))


async def _more_segments(folder: Path, process: asyncio.subprocess.Process) -> None:
    """Return when there are more segments, or the process has ended."""

    def count() -> int:
        return len(list(folder.glob("*/*/*.segment")))

    before = count()

    async def are_more() -> bool:
        return process.returncode is not None or count() > before

    await until(are_more)


def _first(folder: Path, place: Installation) -> list[Path]:
    """The segments with records of the partition that has the most of them."""
    topic = folder / place.topic(COMMANDS.name)
    parts = [sorted(one.glob("*.segment"))[1:] for one in topic.iterdir()]
    return max(parts, key=lambda segments: (len(segments), str(segments)))


def _truncate(segments: list[Path]) -> None:
    os.truncate(segments[0], segments[0].stat().st_size - 7)


def _flip(segments: list[Path]) -> None:
    content = bytearray(segments[0].read_bytes())
    content[len(content) // 2] ^= 1
    segments[0].write_bytes(content)


def _empty(segments: list[Path]) -> None:
    segments[-1].write_bytes(b"")


def _lose(segments: list[Path]) -> None:
    segments[0].unlink()


def _rename(segments: list[Path]) -> None:
    segments[0].rename(segments[0].with_name(f"{1:020}-{2:020}.segment"))


def _stray(segments: list[Path]) -> None:
    shutil.copy(segments[0], segments[0].with_name("copy.segment"))


def _foreign(segments: list[Path]) -> None:
    """A whole segment of another cluster that claims the same positions."""
    facts = read_facts(segments[0])
    other = structs.replace(facts.identity, cluster_id="another", topic_id="another")
    write_segment(segments[0].parent, structs.replace(facts, identity=other), [])


HOSTILE: dict[str, tuple[Callable[[list[Path]], None], str]] = {
    "truncated": (_truncate, "is damaged"),
    "a changed byte": (_flip, "is damaged"),
    "empty": (_empty, "is damaged"),
    "a missing segment": (_lose, "are missing"),
    "a renamed one": (_rename, "are missing"),
    "a stray copy": (_stray, "is not named like a segment"),
    "another cluster's": (_foreign, "does not belong here"),
}


@pytest.mark.slow
async def test_a_folder_that_was_changed_is_told(fresh: Installation, tmp_path: Path) -> None:
    """Whatever happened to a segment, `verify` and `replay` name it in one sentence."""
    folder = tmp_path / "archive"
    for seed in (1, 2):
        await fresh.put(simulated(100, seed))
        await archived(fresh, folder)
    program = Program(fresh.folder, fresh.settings.environment())
    for name, (change, said) in HOSTILE.items():
        changed = tmp_path / name
        shutil.copytree(folder, changed)
        change(_first(changed, fresh))
        report = await verified(fresh, changed)
        assert not report["ok"], name
        assert said in str(report["faults"]), (name, report)
        schema = f"{fresh.settings.schema_}_changed"
        refused = await program("replay", "--into", schema, "--from-archive", str(changed))
        assert (refused.code, said in refused.err) == (1, True), (name, refused)
        assert len(refused.err.splitlines()) == 1, refused.err
        await drop(fresh.db, schema)


@pytest.mark.slow
async def test_another_topic_is_refused(fresh: Installation, tmp_path: Path) -> None:
    """A topic that was made again, unasked, is neither archived to the folder nor read behind it;
    nor is one whose beginning is behind the archive's end."""
    folder = tmp_path / "archive"
    await fresh.put(simulated(60))
    await archived(fresh, folder)
    program = Program(fresh.folder, fresh.settings.environment())
    schema = f"{fresh.settings.schema_}_other"

    async def refused(*arguments: str) -> str:
        result = await program(*arguments)
        assert (result.code, len(result.err.splitlines())) == (1, 1), result
        return result.err

    ends = await fresh._ends(COMMANDS.name)
    await fresh.put([Orders().create()._replace(partition=2) for _ in range(2)])
    await delete_before(fresh, {2: ends[2] + 1})
    replay = ("replay", "--into", schema, "--from-archive", str(folder))
    assert f"Offsets {ends[2]} to {ends[2]} of partition 2" in await refused(*replay)
    assert f"Offsets {ends[2]} to {ends[2]}" in await refused("archive", "--to", str(folder))

    await lost_and_made_again(fresh, COMMANDS.name, CATALOGUE.name)
    assert "--topics-lost" in await refused(*replay)
    assert "to another folder" in await refused("archive", "--to", str(folder))
    assert "no archive" in await refused("verify", "--archive", str(tmp_path / "none"))


async def test_transactions_and_a_beginning_in_a_batch(fresh: Installation, tmp_path: Path) -> None:
    """Aborted records are not archived, and of a batch that retention has cut only the rest."""
    topic = fresh.topic(COMMANDS.name)
    async with transacting(fresh) as producer:
        for value, is_kept in ((b"a", True), (b"b", False), (b"c", True)):
            await producer.begin_transaction()
            await producer.send(topic, value, b"k", partition=1)
            await (producer.commit_transaction() if is_kept else producer.abort_transaction())
    await fresh.producer.send_and_wait(topic, b"d", b"k", partition=1)
    batch = fresh.producer.create_batch()
    for number in range(4):
        batch.append(timestamp=None, key=b"k", value=b"%d" % number, headers=[])
    await (await fresh.producer.send_batch(batch, topic, partition=2))
    await delete_before(fresh, {2: 2})

    async def is_archived() -> bool:  # the mark of a commit may come later than its answer
        await archived(fresh, tmp_path)
        return len(records_of(tmp_path, topic)) >= len(KEPT)

    await until(is_archived)
    found = records_of(tmp_path, topic)
    assert [one.value for one in found] == KEPT
    assert found == await fresh.commands()
    report = await verified(fresh, tmp_path)
    assert (report["ok"], report["compared"]) == (True, len(KEPT))


@pytest.mark.slow
async def test_following_ends_without_loss(fresh: Installation, tmp_path: Path) -> None:
    """Ctrl-C of `--follow` writes what was read; two at a time are refused; what Postgres knows of
    the position is what `doctor` and `topics check` go by."""
    folder = tmp_path / "archive"
    program = Program(fresh.folder, fresh.settings.environment())
    await fresh.put(simulated(50))
    async with program.running("archive", "--to", str(folder), "--follow", "--json") as following:
        await until(lambda: fresh.db.fetchval("select count(*) = 9 from archived"))
        second = await program("archive", "--to", str(folder))
        assert (second.code, "Another process writes" in second.err) == (1, True)
        await fresh.put(simulated(50, seed=2))
        await asyncio.sleep(1.0)  # it need not have read everything
        following.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(following.wait(), 20) == 130
    await archived(fresh, folder)
    assert records_of(folder, fresh.topic(COMMANDS.name)) == await fresh.commands()

    ends = await fresh._ends(COMMANDS.name)
    rows = await fresh.db.fetch(
        "select partition, next_offset from archived where topic = $1", fresh.topic(COMMANDS.name)
    )
    assert {row["partition"]: row["next_offset"] for row in rows} == ends
    assert (await program("topics", "check")).code == 0
    assert "archive" in (await program("doctor")).out
    await fresh.put([Orders().create()._replace(partition=5)])
    await delete_before(fresh, {5: ends[5] + 1})
    checked = await program("topics", "check")
    assert (checked.code, "before they were archived" in checked.out) == (1, True)
    assert "before they were archived" in (await program("doctor")).err
