"""A state directory of the old release: the new release goes on with it and loses nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, groupby, islice
from pathlib import Path

import pytest

from execstream.config.settings import Settings
from execstream.recovery.replay.throttle import Cores, Throttle
from execstream.storage.alerts import records as alerts
from execstream.storage.schema import migrate
from execstream.streams.events import Source
from execstream.streams.topics import EVENTS
from execstream.workload.simulation import Sent, load_graphs
from tests.faults.feeding import DIRTY, small_records
from tests.faults.listening import Listener
from tests.upgrade.checks import check_against_reference, check_verify
from tests.upgrade.old_release import PORTS, PRINT_LOCKS, OldRelease, unpack
from tests.upgrade.running_stack import (
    GRAPHS,
    connected,
    emit,
    simulate,
    up,
    wait_for_all,
    wait_for_messages,
)
from tests.upgrade.stored_state import (
    StoredState,
    committed_sources,
    first_positions,
    read_bridge_offsets,
    read_stored_state,
)
from tests.upgrade.unfinished_state import PART, RUNS, SEED, make_unfinished_state
from tests.whole.program import Program
from tests.worker import Installation, until

pytestmark = [pytest.mark.upgrade, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
async def old(tmp_path: Path) -> OldRelease:
    """The old release, unpacked."""
    release = unpack(tmp_path / "old")
    await release.check_imports()
    return release


async def test_new_release_continues_old_state(old: OldRelease, tmp_path: Path) -> None:
    """The new release takes up unfinished work where it stands, applies commands to old and new
    runs, and keeps all names; nothing is lost, and nothing is done twice."""
    # The old release ignores attributes, which `verify` would miss.
    records = small_records(load_graphs(GRAPHS), SEED + 1, replace(DIRTY, attributed=0.0))
    async with up(old.program, "--no-workers", "--no-serve") as stack:
        left = await make_unfinished_state(old, stack, records)
    program = _with_state_of(old, tmp_path / "new")
    async with up(program) as stack, connected(stack, program.directory) as (place, listener):
        assert await read_bridge_offsets(place) == left.stored.bridge  # subscribed in time
        for partition, sources in left.received.items():
            listener.heard[partition][:0] = sources
        await stack.ready()
        acknowledged = left.acknowledged + await _send_more(program, records)
        await wait_for_all(place)
        await until(lambda: _has_no_lag(program))
        await check_verify(program)

        now = await read_stored_state(place)
        await wait_for_messages(listener, now.messages)
        assert sum(now.outcomes().values()) == acknowledged
        print(
            "###", now.outcomes(), await place.db.fetchval("select count(*) from graph_execution")
        )
        _check_names(left.stored, now)
        _check_positions(left.stored, now, program.directory / ".execstream" / "logs")
        await _check_events(place, left.stored, now)
        await _check_messages(place, now, listener)
        await check_against_reference(place, listener)


async def test_advisory_locks_are_the_same(old: OldRelease) -> None:
    """Processes of both releases, which run side by side during an upgrade, exclude each other."""
    settings = Settings(postgres_dsn="postgresql://localhost/execstream")
    throttle = Throttle(settings, "a schema", "a topic", Cores())
    locks = [migrate._LOCK, alerts._LOCK, throttle._name]
    assert json.loads(await old.output_of(PRINT_LOCKS)) == locks


def _with_state_of(old: OldRelease, folder: Path) -> Program:
    """Move the state directory into `folder`; return the new program, run there."""
    folder.mkdir()
    (old.home / ".execstream").rename(folder / ".execstream")
    return Program(folder, PORTS)


async def _send_more(program: Program, records: Iterator[Sent]) -> int:
    """Send commands that were sent before, new runs, and more commands of unfinished runs; return
    how many were acknowledged."""
    acknowledged = await simulate(program, runs=RUNS, seed=SEED)
    acknowledged += await simulate(program, runs=RUNS // 3, seed=SEED + 2)
    return acknowledged + await emit(program, islice(records, PART))


async def _has_no_lag(program: Program) -> bool:
    shown = await program("offsets", "show", "--json")
    assert shown.code == 0, shown.out
    return not any(position["lag"] for position in shown.json_lines())


def _check_names(before: StoredState, now: StoredState) -> None:
    """Assert that all names are those of before, but for new migrations."""
    assert now.topics == before.topics
    assert now.groups.keys() == before.groups.keys()
    assert now.schemas == before.schemas
    assert now.consumers.keys() == before.consumers.keys()
    assert now.keys == before.keys
    assert now.migrations[: len(before.migrations)] == before.migrations


def _check_positions(before: StoredState, now: StoredState, logs: Path) -> None:
    """Assert that each worker began at the stored position, and no position went back."""
    stored = before.next_offsets
    assert first_positions(logs, "apply") == stored("apply") | stored("catalogue")
    assert first_positions(logs, "tally") == stored("tally")
    assert first_positions(logs, "bridge") == {EVENTS.name: before.bridge}
    for consumer, row in before.consumers.items():
        assert now.consumers[consumer]["epoch"] > row["epoch"]
        assert now.consumers[consumer]["base"] == row["base"]
    for group, committed in before.groups.items():
        for partition, offset in committed.items():
            assert now.groups[group][partition] >= offset


async def _check_events(place: Installation, before: StoredState, now: StoredState) -> None:
    """Assert that the topic has each event, in order, and that the new release published none of
    those that are stored as published."""
    committed = await committed_sources(place)
    assert {number: _kept(sources) for number, sources in now.sources.items()} == committed
    published = before.published()
    for number, sources in before.sources.items():
        assert now.sources[number][: len(sources)] == sources
        assert all(source > published[number] for source in now.sources[number][len(sources) :])


async def _check_messages(place: Installation, now: StoredState, listener: Listener) -> None:
    """Assert that subscribers received one message for each event of a run, in order, from the old
    bridge or the new one."""
    due = await committed_sources(place, only_of_runs=True)
    assert {number: listener.heard[number] for number in due} == due
    assert now.messages == sum(map(len, due.values()))


def _kept(sources: list[Source]) -> list[Source]:
    """Sources that remain for a reader that drops those not greater than the last."""
    return [source for source, _ in groupby(accumulate(sources, max))]
