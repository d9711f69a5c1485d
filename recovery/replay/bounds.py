"""The range of a replay: the bounds asked for, as offsets of the existing topic."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from execstream.kafka.reader import consumer, extent
from execstream.kafka.security import no_broker
from execstream.recovery.replay.live_schema import LivePosition, Reach
from execstream.recovery.replay.offset_points import Point
from execstream.recovery.replay.shadow_schema import JOURNAL, TOPICS, Plan, Span
from execstream.streams.errors import Fatal, Unreachable


class OutOfReach(Fatal):
    """Records to be read do not exist, or not yet."""


class Topic(NamedTuple):
    """The offsets that a topic holds, by partition: from `first` up to `end`."""

    name: str
    first: dict[int, int]
    end: dict[int, int]


class Asked(NamedTuple):
    """The bounds asked for; partitions that are not named: from the beginning up to the position of
    the live schema. `archive`: a folder with the records before those of the topic; `topics_lost`:
    the topic has taken the place of the archived one.
    """

    source: str
    begin: Point
    end: Point
    archive: Path | None = None
    topics_lost: bool = False


async def describe(bootstrap: str, name: str) -> Topic:
    """Return the offsets that the topic `name` holds now."""
    async with _reader(bootstrap) as reader:
        held = await extent(reader, name)
    if not held.first:
        raise OutOfReach(f"There is no topic {name}: run `execstream topics apply`.")
    return Topic(name, dict(sorted(held.first.items())), dict(sorted(held.end.items())))


async def offsets_at(bootstrap: str, topic: Topic, point: Point) -> dict[int, int]:
    """The offsets of `point`: of a time those of the first records that Kafka has from then on."""
    if not isinstance(point, datetime):
        if unknown := point.keys() - topic.first.keys():
            raise OutOfReach(f"{topic.name} has no partition {min(unknown)}.")
        return point
    milliseconds = round(point.timestamp() * 1000)
    parts = [TopicPartition(topic.name, number) for number in topic.first]
    async with _reader(bootstrap) as reader:
        found = await reader.offsets_for_times(dict.fromkeys(parts, milliseconds))
    return {
        tp.partition: topic.end[tp.partition] if place is None else place.offset
        for tp, place in found.items()
    }


@asynccontextmanager
async def _reader(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    async with AsyncExitStack() as opened:
        try:
            reader = await opened.enter_async_context(consumer(bootstrap))
        except KafkaConnectionError as error:
            raise Unreachable(no_broker(bootstrap)) from error
        yield reader


def plan(
    source: str,
    begin: Mapping[int, int],
    end: Mapping[int, int],
    topic: Topic,
    live: Mapping[int, LivePosition],
    journal: Reach,
    bases: Mapping[int, int],
) -> Plan:
    """Spans of all partitions of `topic`; `bases` are those that an archive names. Raises
    OutOfReach for offsets that neither the topic nor `live` has.
    """
    if source == JOURNAL and not live:
        raise OutOfReach("There is no live schema, or nothing in it: its journal gives nothing.")
    spans = []
    for partition, first in topic.first.items():
        place = live.get(partition, LivePosition(0, bases.get(partition, 0)))
        span = Span(partition, place.base, begin.get(partition, 0), end.get(partition))
        if source == TOPICS:
            if live:
                _check_join(span, place)
            _check_begin(span, first, topic, journal)
        _check_end(span, topic)
        spans.append(span)
    return Plan(source, spans)


def check_live_bases(live: Mapping[int, LivePosition], bases: Mapping[int, int]) -> None:
    """Raises OutOfReach when the live schema counts offsets from elsewhere than the archive."""
    for partition, place in live.items():
        if place.base != bases.get(partition, place.base):
            raise OutOfReach(
                f"The live schema has base {place.base} in partition {partition}, and the archive "
                f"{bases[partition]}: its positions are others. Without a live schema, the archive "
                "decides."
            )


def check_live_end(topic: Topic, live: Mapping[int, LivePosition]) -> None:
    """Raises OutOfReach when the live schema is further than `topic` goes, which was described
    later."""
    for partition, place in live.items():
        end = topic.end.get(partition, 0)
        if place.next_offset > end:
            raise OutOfReach(
                f"The live schema is at offset {place.next_offset} of partition {partition}, and "
                f"{topic.name} ends at {end}: it was made again. `execstream offsets show` shows "
                "where everything is, and `execstream offsets rebase commands` mends it; "
                "`--source journal` does without the topic."
            )


def _check_join(span: Span, place: LivePosition) -> None:
    if span.begin > place.next_offset:
        raise OutOfReach(
            f"Before offset {span.begin} of partition {span.partition} comes what the live schema "
            f"has, and that is at {place.next_offset}: choose an earlier --from."
        )


def _check_begin(span: Span, first: int, topic: Topic, journal: Reach) -> None:
    if span.begin < first:
        raise OutOfReach(
            f"Partition {span.partition} of {topic.name} begins at offset {first}: its "
            f"retention has deleted the records before. {_way_out(topic, journal)}"
        )
    if span.begin == 0 and span.base:
        raise OutOfReach(
            f"Partition {span.partition} of {topic.name} was made again: the records before "
            f"its first one are not in it. {_way_out(topic, journal)}"
        )


def _check_end(span: Span, topic: Topic) -> None:
    last = topic.end[span.partition]
    if span.end is not None and not span.begin <= span.end <= last:
        raise OutOfReach(
            f"Partition {span.partition} cannot be read up to offset {span.end}: it begins at "
            f"{span.begin} and ends at {last}."
        )


def _way_out(topic: Topic, journal: Reach) -> str:
    if not journal.runs:
        first = ",".join(f"{partition}:{offset}" for partition, offset in topic.first.items())
        return (
            "There is no journal of it either: a backup of Postgres has it, or `--from "
            f"{first}` does without, and refuses commands of runs that began before."
        )
    return (
        f"The journal of the live schema has {journal.runs:,} runs since {journal.since:%Y-%m-%d}: "
        "`--source journal` rebuilds runs, steps, key-values and totals from it, and `--from` with "
        "an offset or time that the topic still has goes on from it with the topic."
    )
