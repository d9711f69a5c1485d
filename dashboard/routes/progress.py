"""Routes of progress: topics and lag, completeness, workers."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import ReadAll
from execstream.dashboard.reads.consumer_lag import APPLY, BRIDGE, TALLY, load_positions
from execstream.dashboard.responses import Json, Listing, listing, now
from execstream.dashboard.services import Served, Services
from execstream.kafka.cluster import Bounds, Group, Range
from execstream.kafka.partition_count import MEND_PARTITIONS, refusal_of
from execstream.kafka.transactions import ABORT, PartitionKey
from execstream.storage.log.archive_positions import find_complaints, remedy_of
from execstream.storage.log.run_partitions import PARTITIONER, find_foreign
from execstream.streams.topics import COMMANDS, TOPICS

router = APIRouter(prefix="/v1", tags=["operations"], dependencies=[ReadAll])

GROUPS = (APPLY, TALLY, BRIDGE)


class Progress(BaseModel):
    """The position of a consumer in a partition, and the outcomes of commands, counted.
    `end_offset`, `lag` in records: null while Kafka is unavailable.
    """

    consumer: str
    topic: str
    partition: int
    next_offset: int
    end_offset: int | None
    lag: int | None
    published_offset: int
    applied: int
    duplicate: int
    refused: int
    dead: int
    quarantined: int


class Reading(BaseModel):
    """The position of a consumer; lag in records."""

    next_offset: int
    lag: int


class Partition(BaseModel):
    """`lag`: of the consumer that is furthest behind; null without consumers. Records from
    `stable_offset` on are held back by an open transaction; without one it is the end.
    """

    partition: int
    begin_offset: int
    stable_offset: int
    end_offset: int
    lag: int | None
    consumers: dict[str, Reading]


class TopicItem(BaseModel):
    """A topic that exists."""

    topic: str
    meaning: str
    partitions: list[Partition]


class Completeness(BaseModel):
    """Every command that Kafka took before `complete_to` has its outcome; null: nothing is known to
    be complete. `behind`: commands that are waiting for theirs. `gaps`: commands that will never
    have one, because Kafka let go of them first."""

    complete_to: datetime | None
    gaps: int
    behind: int
    as_of: datetime


class Hazard(BaseModel):
    """Something outside that endangers the work: which check found it, and the way out."""

    check: str
    found: str
    remedy: str


_PROGRESS = """
select consumer, topic, partition, next_offset, published_offset, applied, duplicate, refused,
       dead, quarantined
  from consumer_offset order by consumer, topic, partition
"""
_REACHED = """
select partition, next_offset from consumer_offset where consumer = $1 and topic = $2
"""


@router.get("/progress", response_model=Listing[Progress])
async def get_progress(served: Served) -> Response:
    """Positions of consumers, by partition."""
    rows = await served.db.fetch(_PROGRESS)
    try:
        bounds = (await served.brokers.bounds()).of
    except ConnectionError:
        bounds = {}
    return listing([_progress(dict(row), bounds) for row in rows])


@router.get("/topics", response_model=Listing[TopicItem])
async def get_topics(served: Served) -> Response:
    """Topics on Kafka, and the lag of their consumers."""
    bounds = (await served.brokers.bounds()).of
    settings = served.settings
    consumers = await load_positions(
        served.db, served.redis, settings.topic_prefix, settings.redis_prefix
    )
    return listing(
        [_topic(served, topic.name, topic.meaning, bounds, consumers) for topic in TOPICS]
    )


@router.get("/completeness", response_model=Completeness)
async def get_completeness(served: Served) -> Response:
    """Up to when everything has its outcome."""
    topic = served.settings.topic_prefix + COMMANDS.name
    asked_at, everywhere = await served.brokers.bounds()
    bounds = {at: bound for at, bound in everywhere.items() if at[0] == topic}
    rows = await served.db.fetch(_REACHED, APPLY, topic)
    # Without a consumer, everything is still to be read.
    reached = {at: bound.begin for at, bound in bounds.items()}
    reached |= {(topic, row["partition"]): row["next_offset"] for row in rows}
    readable = {
        at: Range(max(reached[at], bound.begin), bound.stable)
        for at, bound in bounds.items()
        if reached[at] < bound.stable
    }
    held_back = {
        at: Range(max(reached[at], bound.stable), bound.end)
        for at, bound in bounds.items()
        if bound.stable < bound.end
    }
    times = await served.brokers.first_times(readable)
    held_times = await served.brokers.first_times(held_back, committed=False)
    waiting = [readable[at] for at in times] + [held_back[at] for at in held_times]
    completeness = Completeness(
        complete_to=_before(asked_at, [*times.values(), *held_times.values()]) if rows else None,
        gaps=sum(max(0, bound.begin - reached[at]) for at, bound in bounds.items()),
        behind=sum(some.end - some.begin for some in waiting),
        as_of=now(),
    )
    return Json(completeness)


@router.get("/hazards", response_model=Listing[Hazard])
async def get_hazards(served: Served) -> Response:
    """Open transactions, added partitions, foreign partitioners, and records that retention takes
    from the archive; those of Kafka not while it is away."""
    found = []
    if foreign := await find_foreign(served.db):
        found.append(Hazard(check="partitioner", found=foreign, remedy=PARTITIONER))
    with suppress(ConnectionError):
        topic = served.settings.topic_prefix + COMMANDS.name
        count = sum(at[0] == topic for at in (await served.brokers.bounds()).of)
        if refusal := refusal_of(topic, count):
            found.append(Hazard(check="partitions", found=refusal, remedy=MEND_PARTITIONS))
        found += [
            Hazard(check="transactions", found=one.describe(), remedy=ABORT)
            for one in await served.brokers.open_transactions()
        ]
        archived, complaints = await find_complaints(
            served.brokers, served.db, served.settings.topic_prefix
        )
        found += [
            Hazard(check="archive", found=one, remedy=remedy_of(archived)) for one in complaints
        ]
    return listing(found)


def _before(asked_at: datetime, times: Iterable[int]) -> datetime:
    """The first of the times that commands are waiting since, or when it was asked for them."""
    waiting = (datetime.fromtimestamp(time / 1000, UTC) for time in times)
    return min((asked_at, *waiting))


@router.get("/workers", response_model=Listing[Group])
async def get_workers(served: Served) -> Response:
    """Live members of Kafka's groups, by role, and the partitions they own. One that is silent for
    ten seconds is not listed any more.
    """
    prefix = served.settings.group_prefix
    return listing(await served.brokers.groups([f"{prefix}-{role}" for role in GROUPS]))


def _progress(row: dict[str, object], bounds: Mapping[PartitionKey, Bounds]) -> Progress:
    bound = bounds.get((str(row["topic"]), int(str(row["partition"]))))
    progress = Progress.model_validate(row | {"end_offset": None, "lag": None})
    if bound is not None:
        progress.end_offset = bound.end
        progress.lag = max(0, bound.end - progress.next_offset)
    return progress


def _topic(
    served: Services,
    name: str,
    meaning: str,
    bounds: Mapping[PartitionKey, Bounds],
    consumers: Mapping[PartitionKey, Mapping[str, int]],
) -> TopicItem:
    topic = served.settings.topic_prefix + name
    partitions = []
    for at, bound in bounds.items():
        if at[0] == topic:
            readings = {
                consumer: Reading(next_offset=offset, lag=max(0, bound.end - offset))
                for consumer, offset in consumers.get(at, {}).items()
            }
            lag = max((reading.lag for reading in readings.values()), default=None)
            partitions.append(
                Partition(
                    partition=at[1],
                    begin_offset=bound.begin,
                    stable_offset=bound.stable,
                    end_offset=bound.end,
                    lag=lag,
                    consumers=readings,
                )
            )
    return TopicItem(topic=topic, meaning=meaning, partitions=partitions)
