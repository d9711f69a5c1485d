"""A state of the old release with unfinished work of every kind."""

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice

from execstream.streams.events import Source
from execstream.streams.topics import COMMANDS, EVENTS
from execstream.workload.simulation import Sent
from tests.faults.progress import ends_of
from tests.upgrade.old_release import OldRelease
from tests.upgrade.running_stack import (
    RunningStack,
    connected,
    emit,
    simulate,
    wait_for_all,
    wait_for_apply,
    wait_for_messages,
)
from tests.upgrade.stored_state import StoredState, committed_sources, read_stored_state
from tests.worker import Installation, until

RUNS, SEED = 150, 7  # of the simulation that the new release repeats
PART = 1_500  # commands sent at a time
BATCH = PART // 15  # commands per transaction of the worker that crashes
STOP_WITHIN = 15.0  # seconds


@dataclass(frozen=True)
class UnfinishedState:
    """The stored rows, the messages that a subscriber received, and the number of commands sent."""

    stored: StoredState
    received: Mapping[int, list[Source]]
    acknowledged: int


async def make_unfinished_state(
    old: OldRelease, stack: RunningStack, records: Iterator[Sent]
) -> UnfinishedState:
    """Run all workers; kill tally and bridge; have apply go on, then die after a commit.

    This leaves commands that are not applied, events that are committed and not published, and
    published events that are not counted and not on Redis.
    """
    async with connected(stack, old.home) as (place, listener):
        await stack.ready()
        acknowledged = await simulate(old.program, runs=RUNS, seed=SEED)
        acknowledged += await _run_workers(old, place, records)
        acknowledged += await emit(old.program, islice(records, PART))
        await old.crash(stack.addresses, commits=4, batch_records=BATCH)

        stored = await read_stored_state(place)
        await wait_for_messages(listener, stored.messages)
        await _check_is_unfinished(place, stored)
        return UnfinishedState(stored, dict(listener.heard), acknowledged)


async def _run_workers(old: OldRelease, place: Installation, records: Iterator[Sent]) -> int:
    """Run the three workers, then apply alone; return how many commands were acknowledged."""
    async with AsyncExitStack() as running:
        apply, *others = [
            await running.enter_async_context(old.worker(role))
            for role in ("apply", "tally", "bridge")
        ]
        acknowledged = await emit(old.program, islice(records, PART))
        await wait_for_all(place)
        for worker in others:
            await _end(worker, signal.SIGKILL)
        acknowledged += await emit(old.program, islice(records, PART))
        await wait_for_apply(place)
        assert await _end(apply, signal.SIGTERM) == 0
    return acknowledged


async def _end(worker: asyncio.subprocess.Process, by: signal.Signals) -> int:
    worker.send_signal(by)
    return await asyncio.wait_for(worker.wait(), STOP_WITHIN)


async def _check_is_unfinished(place: Installation, stored: StoredState) -> None:
    """Assert that there is unfinished work of each kind, and finished work before it."""
    published = {source for sources in stored.sources.values() for source in sources}
    committed = (await committed_sources(place)).values()
    assert any(source not in published for sources in committed for source in sources)
    commands = await until(ends_of(place, COMMANDS.name))
    events = await until(ends_of(place, EVENTS.name))
    for offsets, ends in (
        (stored.next_offsets("apply")[COMMANDS.name], commands),
        (stored.next_offsets("tally")[EVENTS.name], events),
        (stored.bridge, events),
    ):
        assert sum(ends.values()) > sum(offsets.values()) > 0
