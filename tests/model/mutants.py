"""Mutants of the code: one guard of it is left out at run time, and the simulation must notice.

Those of APART are about heavy commands, beside which another partition is applied.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from aiokafka.errors import KafkaError

from execstream.agents.apply import batch_cutting
from execstream.agents.apply.pipeline import Applier
from execstream.agents.apply.publisher import Publisher
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime import partition_buffer
from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.agents.runtime.partition_buffer import PartitionBuffer
from execstream.streams import fold
from execstream.streams.rules import decide
from tests.model.actors import RepublisherFromMemory
from tests.model.following import NotEnabled
from tests.model.records import HEAVY_BYTES
from tests.model.schedules import simulate
from tests.model.simulation import Failed

SCHEDULES = 150  # in which a mutant must be noticed

_add, _send_events, _settle = Publisher.add, Publisher._send_events, Applier._settle
_publish_apart, _publish_partition = Publisher.publish_apart, Publisher._publish_partition
_commit_heavy, _heavy_settled = Applier._commit_heavy, Applier._heavy_settled


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
        fetched.stamp = self.owned[fetched.tp.partition].stamp if self.owned else fetched.stamp
        self._waiting.together.append(fetched)


def _receive_as_whole(self: PartitionBuffer, fetches: Iterable[FetchedRecords]) -> None:
    for fetched in fetches:
        fetched.base = 0
        self._waiting.together.append(fetched)


async def _publish_apart_at_once(self: Publisher, outbound: Any, _: Any) -> None:
    await _publish_apart(self, outbound, None)


async def _settle_none(self: Applier) -> None:
    if self._commit_apart is not None:
        await self._commit_apart.task
        self._commit_apart = None


async def _settle_beside(self: Applier) -> None:
    in_flight, self._in_flight = self._in_flight, None
    await _heavy_settled(self)
    self._in_flight = in_flight


async def _commit_heavy_or_go_on(self: Applier, folded: Any) -> bool:
    with patch.object(self, "_give_up"):
        return await _commit_heavy(self, folded)


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
APART: dict[str, tuple[Any, str, Any]] = {
    "earlier sends first": (Publisher, "acknowledged", _do_nothing_later),
    "republishing first": (Publisher, "publish_apart", _publish_apart_at_once),
    "second commit": (Applier, "_heavy_settled", _settle_none),
    "second commit alone": (Applier, "_heavy_settled", _settle_beside),
    "giving up": (Applier, "_commit_heavy", _commit_heavy_or_go_on),
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


def killed_apart_at(guard: str) -> int | None:
    """The same for a guard of APART, where most commands of one partition are heavy."""
    for seed in range(SCHEDULES):
        with (
            patch.object(batch_cutting, "HEAVY_BYTES", HEAVY_BYTES),
            patch.object(*APART[guard]),
        ):
            try:
                simulate(seed, partitions=2)
            except AssertionError:
                return seed
    return None
