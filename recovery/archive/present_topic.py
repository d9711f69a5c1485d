"""An archive beside the topic that is there now: is it the same one, and do they meet?"""

from collections.abc import Mapping
from typing import NamedTuple

from execstream.kafka.admin import admin_client
from execstream.kafka.topic_ids import find_topic_ids
from execstream.recovery.archive.folder import Archive, Partition
from execstream.streams.errors import Fatal


class OtherTopic(Fatal):
    """The archive is of another topic than the one that is there."""


class NoJoin(Fatal):
    """There are no records between the end of the archive and the beginning of the topic."""


class Joined(NamedTuple):
    """An archive and the topic behind it, by partition: Kafka's offset at which it begins now, and
    the base of the topic."""

    first: dict[int, int]
    bases: dict[int, int]


async def join(
    archive: Archive,
    bootstrap: str,
    topic: str,
    first: Mapping[int, int],
    end: Mapping[int, int],
    *,
    topics_lost: bool,
) -> Joined:
    """Join the archive with `topic`, which has offsets from `first` to `end`, by partition.

    `topics_lost`: the topic has taken the place of the archived one, and continues its positions.

    Raises OtherTopic, NoJoin or NoArchive.
    """
    parts = archive.partitions(topic)
    async with admin_client(bootstrap) as admin:
        cluster_id, ids = await find_topic_ids(admin, [topic])
    now = cluster_id, ids[topic]
    joined = Joined({}, {})
    for number in first:
        part = parts.get(number)
        if part is None:
            raise NoJoin(f"{archive.folder} has no partition {number} of {topic}.")
        base = _base_of(part, now, topics_lost=topics_lost)
        _check_join(part, base, first[number], end[number])
        joined.bases[number], joined.first[number] = base, part.begin - base
    return joined


def _base_of(part: Partition, now: tuple[str, str], *, topics_lost: bool) -> int:
    newest = part.newest().identity
    is_same = (newest.cluster_id, newest.topic_id) == now
    if is_same and topics_lost:
        raise OtherTopic(
            f"The archive is of the topic {newest.topic} that is there: it is not lost."
        )
    if not is_same and not topics_lost:
        raise OtherTopic(
            f"{part.folder.parent} has the topic {newest.topic} ({newest.topic_id}) of cluster "
            f"{newest.cluster_id}, and the one that is there is {now[1]} of cluster {now[0]}. "
            "Where that one was lost, add --topics-lost."
        )
    return newest.base if is_same else part.end


def _check_join(part: Partition, base: int, first: int, end: int) -> None:
    at = part.end - base
    if at < first:
        raise NoJoin(
            f"Offsets {at} to {first - 1} of partition {part.number} are neither in the archive, "
            f"which ends before them, nor in the topic, which begins at {first}."
        )
    if at > end:
        raise NoJoin(
            f"The archive has partition {part.number} up to offset {at - 1}, and the topic ends at "
            f"{end}: its last records were lost. See `execstream offsets show`."
        )
