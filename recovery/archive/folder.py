"""The folder of an archive: `<folder>/<topic>/<partition>/<begin>-<end>.segment`.

Everything about an archive follows from its files, so there is no manifest that could differ from
them. The first segment of a topic, and of each topic that takes its place later, has no records: it
has the identity of the topic.
"""

from collections.abc import Iterator
from pathlib import Path

from execstream.recovery.archive.segments import (
    PART,
    SUFFIX,
    ArchiveDamaged,
    Facts,
    SegmentName,
    parse_name,
    read_facts,
    read_segment,
)
from execstream.streams.errors import Fatal


class NoArchive(Fatal):
    """The folder has no records of the topic."""


class Partition:
    """The segments of a partition, in order."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        paths = folder.glob(f"*{SUFFIX}") if folder.is_dir() else ()
        self.segments = [parse_name(path) for path in sorted(paths)]
        self._check()

    @property
    def begin(self) -> int:
        return self.segments[0].begin

    @property
    def end(self) -> int:
        return self.segments[-1].end

    def newest(self) -> Facts:
        """The facts of the last segment."""
        return read_facts(self.segments[-1].path)

    def read(self, position: int) -> Iterator[tuple[Facts, bytes]]:
        """The facts and batches of the segments that end behind `position`, in order.

        Raises ArchiveDamaged where one is not whole, or is not of the topic of the one before.
        """
        before: Facts | None = None
        for name in self.segments:
            if name.end > position or name.begin == name.end >= position:
                facts, batches = read_segment(name)
                self._check_origin(facts, before, name.path)
                before = facts
                yield facts, batches

    def _check_origin(self, facts: Facts, before: Facts | None, path: Path) -> None:
        place = (facts.identity.topic, facts.partition)
        if place != (self.folder.parent.name, self.number):
            raise ArchiveDamaged(f"{path} is of partition {place[1]} of {place[0]}: it was moved.")
        is_first = before is None or facts.begin == facts.end
        if not is_first and before is not None and before.identity != facts.identity:
            raise ArchiveDamaged(
                f"{path} is of the topic {facts.identity.topic_id} of cluster "
                f"{facts.identity.cluster_id}, and the segment before of "
                f"{before.identity.topic_id} of cluster {before.identity.cluster_id}: it does not "
                "belong here."
            )

    def add(self, facts: Facts, path: Path) -> None:
        """Note a segment that was written, in place of all before: they are of no use to a writer,
        and in a year there may be millions.
        """
        self.segments = [SegmentName(facts.begin, facts.end, path)]

    def _check(self) -> None:
        """Raise ArchiveDamaged where positions are missing, or there twice."""
        for before, after in zip(self.segments, self.segments[1:], strict=False):
            if before.end != after.begin:
                what = "are missing" if before.end < after.begin else "are there twice"
                low, high = sorted((before.end, after.begin))
                raise ArchiveDamaged(
                    f"Positions {low} to {high - 1} of partition {self.number} {what} in "
                    f"{self.folder}: the segment before is {before.path.name}."
                )


class Archive:
    """An archive at `folder`, as it is now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def topics(self) -> list[str]:
        """Names of the topics in it."""
        if not self.folder.is_dir():
            return []
        return sorted(one.name for one in self.folder.iterdir() if self.numbers(one.name))

    def partition(self, topic: str, number: int) -> Partition:
        """A partition of `topic`, perhaps without segments."""
        return Partition(self.folder / topic / str(number), number)

    def numbers(self, topic: str) -> list[int]:
        """Numbers of the partitions of `topic` that have segments."""
        folders = {path.parent for path in (self.folder / topic).glob(f"*/*{SUFFIX}")}
        return sorted(int(one.name) for one in folders if one.name.isdecimal())

    def partitions(self, topic: str) -> dict[int, Partition]:
        """The partitions of `topic` that have segments. Raises NoArchive when none has."""
        found = {number: self.partition(topic, number) for number in self.numbers(topic)}
        if not found:
            raise NoArchive(f"{self.folder} has no records of {topic}.")
        return found

    def remove_parts(self) -> None:
        """Remove the files that a killed process was writing; the caller has the archive alone."""
        for part in self.folder.glob(f"*/*/*{PART}"):
            part.unlink()
