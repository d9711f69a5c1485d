"""From where to where a replay reads: what was asked for, as offsets of the topic there is."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from agents.brokers import access
from execstream.errors import Unreachable
from execstream.recovery.replay.topics import reader
from storage.live_side import Place, Reach
from storage.rebuilding import JOURNAL, TOPICS, Plan, Span
from streams.errors import Fatal
from streams.offsets import Point


class OutOfReach(Fatal):
    """What is to be read is not there, or not there yet."""


class Topic(NamedTuple):
    """What a topic holds, by partition: offsets from `first` up to `end`."""

    name: str
    first: dict[int, int]
    end: dict[int, int]


class Asked(NamedTuple):
    """Where to begin and to end; partitions that are not named: at the beginning, and as far as
    the live schema is."""

    source: str
    begin: Point
    end: Point


async def describe(bootstrap: str, name: str) -> Topic:
    """What the topic `name` holds now."""
    async with reader(bootstrap) as consumer:
        parts = await _partitions(bootstrap, name)
        first = await consumer.beginning_offsets(parts)
        end = await consumer.end_offsets(parts)
    return Topic(name, _by_partition(first), _by_partition(end))


async def offsets_at(bootstrap: str, topic: Topic, point: Point) -> dict[int, int]:
    """The offsets of `point`: of a time those of the first records that Kafka has from then on."""
    if not isinstance(point, datetime):
        return point
    milliseconds = round(point.timestamp() * 1000)
    async with reader(bootstrap) as consumer:
        parts = await _partitions(bootstrap, topic.name)
        found = await consumer.offsets_for_times(dict.fromkeys(parts, milliseconds))
    return {
        tp.partition: topic.end[tp.partition] if place is None else place.offset
        for tp, place in found.items()
    }


async def _partitions(bootstrap: str, name: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **access())
    try:
        await admin.start()
        [found] = await admin.describe_topics([name])
    except KafkaConnectionError as error:
        raise Unreachable(f"No Kafka broker answers at {bootstrap}.") from error
    finally:
        await admin.close()
    if not found["partitions"]:
        raise OutOfReach(f"There is no topic {name}: run `execstream topics apply`.")
    return [
        TopicPartition(name, p) for p in sorted(one["partition"] for one in found["partitions"])
    ]


def _by_partition(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {tp.partition: offset for tp, offset in offsets.items()}


def plan(
    source: str,
    begin: Mapping[int, int],
    end: Mapping[int, int],
    topic: Topic,
    live: Mapping[int, Place],
    journal: Reach,
) -> Plan:
    """Spans of all partitions of `topic`. Raises OutOfReach for what neither it nor `live` has."""
    if source == JOURNAL and not live:
        raise OutOfReach("There is no live schema, or nothing in it: its journal gives nothing.")
    spans = []
    for partition, first in topic.first.items():
        place = live.get(partition, Place(0, 0))
        span = Span(partition, place.base, begin.get(partition, 0), end.get(partition))
        if source == TOPICS:
            _check_begin(span, first, place, topic.name, journal)
        _check_end(span, topic)
        spans.append(span)
    return Plan(source, spans)


def _check_begin(span: Span, first: int, place: Place, topic: str, journal: Reach) -> None:
    if span.begin > place.next_offset:
        raise OutOfReach(
            f"Before offset {span.begin} of partition {span.partition} comes what the live schema "
            f"has, and that is at {place.next_offset}: choose an earlier --from."
        )
    if span.begin < first:
        raise OutOfReach(
            f"Partition {span.partition} of {topic} begins at offset {first}: what came before was "
            f"deleted by its retention. {_way_out(journal)}"
        )
    if span.begin == 0 and span.base:
        raise OutOfReach(
            f"Partition {span.partition} of {topic} was made again: what came before its first "
            f"record is not in it. {_way_out(journal)}"
        )


def _check_end(span: Span, topic: Topic) -> None:
    last = topic.end[span.partition]
    if span.end is not None and not span.begin <= span.end <= last:
        raise OutOfReach(
            f"Partition {span.partition} cannot be read up to offset {span.end}: it begins at "
            f"{span.begin} and ends at {last}."
        )


def _way_out(journal: Reach) -> str:
    if not journal.runs:
        return "The journal of the live schema has nothing either: restore a backup of Postgres."
    return (
        f"The journal of the live schema has {journal.runs:,} runs since {journal.since:%Y-%m-%d}: "
        "`--source journal` rebuilds runs, steps, key-values and totals from it, and `--from` with "
        "an offset or time that the topic still has goes on from it with the topic."
    )
