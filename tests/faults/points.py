"""Named points in the code of a worker, where it dies or something gets lost on demand.

Each point counts its passes; a plan has the passes at which it strikes. Each strike is logged as
`injected`. The names that are replaced here are private to `agents`: when one of them goes, the
worker of the tests does not start.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Any, NoReturn

import structlog
from aiokafka import AIOKafkaProducer

from execstream.agents.apply import pipeline, republisher
from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.agents.runtime.partition_buffer import Batch, PartitionBuffer, Position
from execstream.agents.runtime.stored_offsets import PostgresPositions
from execstream.kafka import worker_producer
from execstream.storage.commit import write_set
from execstream.storage.log import events

log = structlog.get_logger(__name__)

DIED = 86  # the exit code of a worker that died at a point
SMALL_PAGE = 20  # commands, so that republishing has a middle to die in

_moments = Random(0)


class Point(StrEnum):
    """The place of a fault, which determines its kind."""

    FETCHED = "fetched"
    IN_COMMIT = "in_commit"
    OFFSET_FIRST = "offset_first"
    COMMITTED = "committed"
    PUBLISHING = "publishing"
    CLAIMED = "claimed"
    TAKEN_OVER = "taken_over"
    REPUBLISHING = "republishing"
    ANSWER_LOST = "answer_lost"
    COMMIT_CUT = "commit_cut"
    FETCH_LOST = "fetch_lost"
    STALE_FETCH = "stale_fetch"
    MOVED_BACK = "moved_back"


# Each death once. Only after the third is there surely something to republish.
DEATHS = (
    Point.FETCHED,
    Point.IN_COMMIT,
    Point.COMMITTED,
    Point.REPUBLISHING,
    Point.PUBLISHING,
    Point.CLAIMED,
    Point.TAKEN_OVER,
)
# Faults that a worker must survive.
LOSSES = (Point.ANSWER_LOST, Point.COMMIT_CUT, Point.FETCH_LOST, Point.STALE_FETCH)

Plan = Mapping[str, Sequence[int]]  # by point, the passes at which it strikes, from 1


class Striking:
    """Counts passes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._passed: Counter[Point] = Counter()

    def at(self, point: Point) -> bool:
        """Pass `point`; whether it strikes."""
        self._passed[point] += 1
        strikes = self._passed[point] in self._plan.get(point, ())
        if strikes:
            log.warning("injected", point=point)
        return strikes

    def die_at(self, point: Point) -> None:
        if self.at(point):
            die()


def die() -> NoReturn:
    """End the process as with SIGKILL: nothing is finished, nothing is closed."""
    os._exit(DIED)


def arm(plan: Plan) -> None:
    """Put all points into the code of this process."""
    striking = Striking(plan)
    events.PAGE = SMALL_PAGE if Point.REPUBLISHING in plan else events.PAGE
    _arm_intake(striking)
    _arm_commit(striking)
    _arm_publishing(striking)
    _arm_claims(striking)


def _replace(owner: Any, **members: Any) -> None:
    for name, member in members.items():
        assert hasattr(owner, name), f"{owner.__name__} has no {name} any more"
        setattr(owner, name, member)


async def _a_moment() -> None:
    """Wait for a random moment, within the work of a server."""
    await asyncio.sleep(_moments.uniform(0, 0.004))


def _arm_intake(striking: Striking) -> None:
    poll_batch, receive = PartitionBuffer.poll_batch, PartitionBuffer.receive

    async def take_or_die(self: PartitionBuffer, *arguments: Any) -> Batch:
        batch = await poll_batch(self, *arguments)
        if batch:
            striking.die_at(Point.FETCHED)
        return batch

    def receive_otherwise(self: PartitionBuffer, fetches: Iterable[FetchedRecords]) -> None:
        for fetched in fetches:
            if striking.at(Point.STALE_FETCH):  # as from before the worker's own seek
                receive(self, [FetchedRecords(fetched.tp, fetched, stamp=0, base=0)])
            if not striking.at(Point.FETCH_LOST):
                receive(self, [fetched])
            if striking.at(Point.MOVED_BACK):
                end = fetched[-1].offset + 1
                receive(self, [FetchedRecords(fetched.tp, fetched, fetched.stamp, end)])

    _replace(PartitionBuffer, poll_batch=take_or_die, receive=receive_otherwise)


def _arm_commit(striking: Striking) -> None:
    commit, told = write_set.commit, pipeline.Applier._emit

    async def commit_otherwise(connection: Any, *arguments: Any) -> bool:
        if striking.at(Point.OFFSET_FIRST):  # as code would that commits it apart from the rows
            await commit(connection, *(*arguments[:-1], write_set.WriteSet()))
            die()
        underway = asyncio.ensure_future(commit(connection, *arguments))
        if striking.at(Point.IN_COMMIT):
            await _a_moment()
            die()
        if striking.at(Point.COMMIT_CUT):
            await _a_moment()
            connection.terminate()
        done = await underway
        if striking.at(Point.ANSWER_LOST):
            connection.terminate()
            raise ConnectionResetError("injected: the answer of a commit")
        return done

    async def die_or_tell(self: pipeline.Applier, *work: Any) -> None:
        striking.die_at(Point.COMMITTED)
        await told(self, *work)

    _replace(pipeline, commit=commit_otherwise)
    _replace(pipeline.Applier, _emit=die_or_tell)


def _arm_publishing(striking: Striking) -> None:
    events_after = events.events_after

    class Producer(AIOKafkaProducer):  # type: ignore[misc]
        async def send_batch(self, *arguments: Any, **options: Any) -> Any:
            underway = await super().send_batch(*arguments, **options)
            if striking.at(Point.PUBLISHING):
                await _a_moment()
                die()
            return underway

    async def events_after_or_die(*arguments: Any) -> Any:
        page = await events_after(*arguments)
        if page.events:
            striking.die_at(Point.REPUBLISHING)
        return page

    _replace(worker_producer, AIOKafkaProducer=Producer)
    _replace(republisher, events_after=events_after_or_die)


def _arm_claims(striking: Striking) -> None:
    claim, take_over = PostgresPositions.claim, PartitionBuffer.take_over

    async def claim_and_die(
        self: PostgresPositions, topic: str, earliest: Mapping[int, int]
    ) -> list[Position]:
        positions = await claim(self, topic, earliest)
        striking.die_at(Point.CLAIMED)
        return positions

    async def take_over_and_die(self: PartitionBuffer, owned: Any, consumer: Any) -> bool:
        is_ours = await take_over(self, owned, consumer)
        striking.die_at(Point.TAKEN_OVER)
        return is_ours

    _replace(PostgresPositions, claim=claim_and_die)
    _replace(PartitionBuffer, take_over=take_over_and_die)
