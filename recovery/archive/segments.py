"""Segments: the files of an archive.

A segment has the record batches of one partition between two positions, byte for byte as Kafka has
them: first the SHA-256 of all that follows, then a line of JSON with its facts, then the batches in
one frame of zstd. Its name has the positions, so that names sort by them. A position is Kafka's
offset plus the base of the topic, which is 0 until the topic is lost and made again: positions of
the new topic continue those of the old one.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cramjam
import msgspec

from execstream.kafka.unpacking import most_unpacked
from execstream.recovery.folders import sync_folder
from execstream.streams.errors import Fatal

SUFFIX, PART = ".segment", ".part"
FORMAT = 1
LEVEL = 1  # of zstd; 3 takes twice the CPU for the same size
MAX_UNPACKED = 256 * 1024 * 1024  # bytes; far more than is written
_ZSTD = 4  # in Kafka's numbers
_HASH_SIZE = 64  # characters
_DIGITS = 20


class ArchiveDamaged(Fatal):
    """A file of the archive is not as it was written, or is missing."""


class Identity(msgspec.Struct, frozen=True):
    """The topic that records come from. `base` is added to its offsets in positions."""

    cluster_id: str
    topic: str
    topic_id: str
    base: int = 0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a segment: positions from `begin` on, before `end`.

    Attributes:
        count: records.
        bytes: size of the batches.
        last_at: append time of the last record in milliseconds; 0 without records.
    """

    identity: Identity
    partition: int
    begin: int
    end: int
    count: int
    bytes: int
    last_at: int
    format: int = FORMAT


class SegmentName(NamedTuple):
    """A segment as its name shows it."""

    begin: int
    end: int
    path: Path


def parse_name(path: Path) -> SegmentName:
    """Read the positions in a name. Raises ArchiveDamaged for other names."""
    begin, _, end = path.name.removesuffix(SUFFIX).partition("-")
    if not (begin.isdecimal() and end.isdecimal() and len(begin) == len(end) == _DIGITS):
        raise ArchiveDamaged(f"{path} is not named like a segment: move it out of the archive.")
    return SegmentName(int(begin), int(end), path)


def write_segment(folder: Path, facts: Facts, batches: Iterable[bytes]) -> Path:
    """Write a segment into `folder`: it is there as a whole, on the disk, or not at all."""
    path = folder / f"{facts.begin:0{_DIGITS}}-{facts.end:0{_DIGITS}}{SUFFIX}"
    part = path.with_suffix(PART)
    frame = cramjam.zstd.Compressor(level=LEVEL)
    for batch in batches:
        frame.compress(batch)
    packed = bytes(frame.finish())
    line = msgspec.json.encode(facts) + b"\n"
    digest = hashlib.sha256(line)
    digest.update(packed)
    with part.open("wb") as file:
        file.write(digest.hexdigest().encode() + line)
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(folder)
    return path


def read_facts(path: Path) -> Facts:
    """Read the facts of a segment without its records, of which nothing is checked."""
    with path.open("rb") as file:
        return _facts(path, file.read(_HASH_SIZE) and file.readline())


def read_segment(name: SegmentName) -> tuple[Facts, bytes]:
    """Read a segment: its facts and its batches. Raises ArchiveDamaged where it is not whole."""
    content = name.path.read_bytes()
    if hashlib.sha256(content[_HASH_SIZE:]).hexdigest().encode() != content[:_HASH_SIZE]:
        raise ArchiveDamaged(
            f"{name.path} is damaged: its contents do not have the hash that it was written with. "
            "Put a copy of it in its place."
        )
    line, _, packed = content[_HASH_SIZE:].partition(b"\n")
    facts = _facts(name.path, line)
    if (facts.begin, facts.end) != (name.begin, name.end):
        raise ArchiveDamaged(
            f"{name.path} has positions {facts.begin} to {facts.end}: it was renamed."
        )
    if most_unpacked(_ZSTD, memoryview(packed)) > MAX_UNPACKED:
        raise ArchiveDamaged(f"{name.path} would take more than {MAX_UNPACKED:,} bytes of memory.")
    try:
        return facts, bytes(cramjam.zstd.decompress(packed))
    except cramjam.DecompressionError as error:
        raise ArchiveDamaged(f"{name.path} cannot be unpacked: {error}.") from error


def _facts(path: Path, line: bytes) -> Facts:
    try:
        facts = msgspec.json.decode(line, type=Facts)
    except msgspec.DecodeError as error:
        raise ArchiveDamaged(f"{path} is damaged: its facts cannot be read ({error}).") from error
    if facts.format != FORMAT:
        raise ArchiveDamaged(
            f"{path} has format {facts.format}, which this version does not know: use a newer one."
        )
    return facts
