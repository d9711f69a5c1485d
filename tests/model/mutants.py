"""Mutants of the code: one guard of it is left out at run time, and the simulation must notice."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from aiokafka.errors import KafkaError

from execstream.agents.apply.pipeline import Applier
from execstream.agents.apply.publisher import Publisher
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime import partition_buffer
from execstream.agents.runtime.partition_buffer import FetchedRecords, PartitionBuffer
from execstream.streams import fold
from execstream.streams.rules import decide
from tests.model.actors import RepublisherFromMemory
from tests.model.following import NotEnabled
from tests.model.schedules import simulate
from tests.model.simulation import Failed

SCHEDULES = 150  # in which a mutant must be noticed

_add, _send_events, _settle = Publisher.add, Publisher._send_events, Applier._settle
_publish_partition = Publisher._publish_partition


async def _add_at_once(self: Publisher, outbound: Any, _: Any) -> None:
    await _add(self, outbound, None)


async def _send_backwards(self: Publisher, producer: Any, outbound: Any) -> Any:
    outbound.events.reverse()
    return await _send_events(self, producer, outbound)


async def _send_or_not(self: Publisher, producer: Any, outbound: Any) -> Any:
    try:
        return await _send_events(self, producer, outbound)
    except KafkaError:
        return outbound.owned.published


async def _publish_unacknowledged(self: Publisher, producer: Any, outbound: Any) -> None:
    if outbound.events:
        outbound.owned.published = max(outbound.owned.published, outbound.events[-1].place)
    await _publish_partition(self, producer, outbound)


async def _publish_first(self: Applier, folded: Any, refoldings: int = 0) -> None:
    await self._publisher.add(list(folded.outbound), self.republished)
    folded.outbound.clear()
    await _settle(self, folded, refoldings)


async def _do_nothing_later(*_: Any) -> None:
    pass


def _do_nothing(*_: Any) -> None:
    pass


def _receive_as_newest(self: PartitionBuffer, fetches: Iterable[FetchedRecords]) -> None:
    for fetched in fetches:
        fetched.stamp = self.owned[0].stamp if self.owned else fetched.stamp
        self._waiting.append(fetched)


def _receive_as_whole(self: PartitionBuffer, fetches: Iterable[FetchedRecords]) -> None:
    for fetched in fetches:
        fetched.base = 0
        self._waiting.append(fetched)


def _decide_anew(run: Any, *about: Any) -> Any:
    if run is not None:
        run.outcomes.clear()
    return decide(run, *about)


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "ids of commands": (fold, "decide", _decide_anew),
    "states dropped": (RunCache, "clear", _do_nothing),
    "giving up": (PartitionBuffer, "release", _do_nothing),
    "claiming anew": (PartitionBuffer, "_reclaim", _do_nothing),
    "publishing after the commit": (Applier, "_settle", _publish_first),
    "order of sends": (Publisher, "_send_events", _send_backwards),
    "end at a failed send": (Publisher, "_send_events", _send_or_not),
    "acknowledged position": (Publisher, "_publish_partition", _publish_unacknowledged),
    "republishing": (RepublisherFromMemory, "republish", _do_nothing_later),
    "republishing first": (Publisher, "add", _add_at_once),
    "stamp": (PartitionBuffer, "receive", _receive_as_newest),
    "base": (PartitionBuffer, "receive", _receive_as_whole),
    "seek back": (PartitionBuffer, "_seek_back", _do_nothing_later),
    "trimming": (partition_buffer, "bisect_left", lambda *_, **__: 0),
}
FENCE = ("epoch", "expected offset", "claim order")  # in memory, by the rules of the SQL


def killed_at(guard: str) -> int | None:
    """The first schedule that fails without `guard`; None when none does."""
    for seed in range(SCHEDULES):
        with ExitStack() as stack:
            if guard in MUTANTS:
                stack.enter_context(patch.object(*MUTANTS[guard]))
            try:
                simulate(seed, guard if guard in FENCE else None)
            except (Failed, NotEnabled):
                return seed
    return None
