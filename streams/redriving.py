"""Dead letters on their way back to the commands topic: edits, and the target partition.

A redriven record names in its headers the dead letter that it was. One that fails again is a new
dead letter with these headers, so that the two are found from each other.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import Raw

from execstream.streams.commands import Command, SetKeyValue, type_of
from execstream.streams.decoding import decode
from execstream.streams.errors import NOT_READABLE, Fatal
from execstream.streams.outcomes import Dead, DeadReason
from execstream.streams.quarantine import HEADERS as QUARANTINE_HEADERS

REDRIVEN_FROM = "redriven_from"  # header: the id of the dead letter; its place is in the others
_ORIGIN = (
    REDRIVEN_FROM,
    f"{REDRIVEN_FROM}.topic",
    f"{REDRIVEN_FROM}.partition",
    f"{REDRIVEN_FROM}.offset",
)

# A copy from quarantine that became a dead letter is an ordinary record when it is redriven.
_DROPPED = (*_ORIGIN, *QUARANTINE_HEADERS)

Headers = list[tuple[str, bytes | None]]


class NotEditable(Fatal):
    """A value has no fields that could be set."""


class NotKept(Fatal):
    """The value of a dead letter was never held, so there is nothing to put back."""


class Record(Protocol):
    """A record as Kafka holds it."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]]: ...


class Letter(NamedTuple):
    """A dead letter as it is stored; `partition` and `offset` are where the record was."""

    id: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: DeadReason
    detail: dict[str, Any]
    received_at: datetime
    redriven_at: datetime | None

    @property
    def redriven_from(self) -> str | None:
        """The id of the dead letter that this one was before it was redriven."""
        value = dict(self.headers).get(REDRIVEN_FROM)
        return None if value is None else value.decode(errors="replace")


def is_omitted(reason: str, size: int) -> bool:
    """Return whether the value of a dead letter was left out; `size` counts the bytes kept."""
    return not size and reason in (DeadReason.TOO_LARGE, DeadReason.BATCH_TOO_LARGE)


def unread_offsets(letter: Letter) -> range:
    """The offsets of the records that `letter` stands for, if they were not unpacked; empty
    otherwise.
    """
    if letter.reason is not DeadReason.BATCH_TOO_LARGE or letter.value:
        return range(0)
    detail = letter.detail
    return range(detail.get("first_offset", letter.offset), letter.offset + 1)


def read_again(letter: Letter, record: Record) -> Letter:
    """One of the records that `letter` stands for, as a dead letter with a value."""
    return letter._replace(
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=list(record.headers),
        reason=DeadReason.NOT_JSON,  # which does not name its partition
        detail={},
    )


def not_kept(ids: Iterable[str]) -> NotKept:
    """The error of redriving these."""
    return NotKept(
        f"Dead letter {', '.join(ids)} cannot be redriven: its value was too large to be unpacked "
        "and is not kept. Its producer has to send it again, in smaller commands."
    )


class Redriven(NamedTuple):
    """The record that a dead letter is put back as; `partition` None: that of its key."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None


def redriven(letter: Letter, value: bytes | None) -> Redriven:
    """The record for `letter` with `value`, its own or an edited one.

    It goes to its old partition, or to the partition of its run when it was on a wrong one. An
    edited one gets the key that it names, and so does one whose key was the mistake.

    Raises:
        NotKept: its value is not stored anywhere.
    """
    if unread_offsets(letter) and not value:
        raise NotKept(
            f"Dead letter {letter.id} stands for records that were not unpacked: `execstream dlq "
            f"redrive {letter.id}` reads them again from the topic."
        )
    if is_omitted(letter.reason, len(value or b"")):
        raise not_kept([letter.id])
    headers = [header for header in letter.headers if header[0] not in _DROPPED]
    origin = (letter.id, letter.topic, letter.partition, letter.offset)
    headers += [(name, str(one).encode()) for name, one in zip(_ORIGIN, origin, strict=True)]
    is_rekeyed = value != letter.value or letter.reason is DeadReason.KEY_MISMATCH
    if is_rekeyed and (key := named_key(value)) not in (None, letter.key):
        return Redriven(key, value, headers, None)
    partition = letter.partition
    if letter.reason is DeadReason.WRONG_PARTITION:
        partition = letter.detail.get("expected", partition)
    return Redriven(letter.key, value, headers, partition)


def judge(record: Redriven, max_bytes: int) -> Command | Dead:
    """Decode the record as a worker will."""
    return decode(record.key, record.value, max_bytes)


class _Named(msgspec.Struct):
    """The fields that determine the key; of any type, because commands are not judged here."""

    type: Any = None
    graph_exec_id: Any = None
    user_id: Any = None


_read_named = msgspec.json.Decoder(_Named).decode
_read_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def named_key(value: bytes | None) -> bytes | None:
    """The key that a command of these bytes has to have; None where that cannot be read."""
    try:
        named = _read_named(value or b"")
    except NOT_READABLE:
        return None
    is_key_value = named.type == type_of(SetKeyValue)
    key = named.user_id if is_key_value else named.graph_exec_id
    return key.encode() if isinstance(key, str) else None


def with_fields(value: bytes | None, changes: Mapping[str, bytes]) -> bytes:
    """`value` with fields replaced or added; all others keep their bytes.

    `changes` are JSON by path; a dot leads into an object, which is made when it is missing. Raises
    NotEditable where `value`, or a value on a path, is not a JSON object.
    """
    for path, json in changes.items():
        value = _with_field(value or b"", path, path.split("."), json)
    return value or b""


def _with_field(value: bytes, path: str, names: list[str], json: bytes) -> bytes:
    try:
        fields = _read_fields(value)
    except NOT_READABLE:
        raise NotEditable(
            f"{path} cannot be set: its parent is no JSON object. Use --editor."
        ) from None
    name, *inner = names
    if inner:
        json = _with_field(bytes(fields.get(name, b"{}")), path, inner, json)
    return msgspec.json.encode(fields | {name: Raw(json)})
