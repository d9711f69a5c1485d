"""Decoding: from the bytes of a record to a command, or to the reason why it is a dead letter.

The common case costs one pass of msgspec and checks that are cheap; only records that fail one of
them are checked in full, to find the first reason in the contract's order. `wrong_partition`, and
data that Postgres refuses for another cause than its numbers, are found elsewhere.
"""

from contextlib import suppress
from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec import UNSET, Raw, Struct

from execstream.streams.attributes import describe_misfit as describe_attributes
from execstream.streams.commands import (
    COMMAND_TYPES,
    AnyCommand,
    Command,
    CreateGraph,
    Document,
    Name,
    Pin,
    SetKeyValue,
    ShareGraph,
    Uuid,
)
from execstream.streams.errors import NOT_READABLE
from execstream.streams.forms import enforcing, has_forms
from execstream.streams.growth import GROWING, MAX_VALUES, excess, has_many_values
from execstream.streams.omitted import OmittedValue
from execstream.streams.outcomes import Dead, DeadReason
from execstream.streams.scanning import depth, may_be_deeper
from execstream.streams.storable_numbers import unstorable
from execstream.streams.text import clean_json, clean_text, may_need_cleaning
from execstream.streams.wording import (
    MAX_QUOTE,
    describe_malformed,
    describe_misfit,
    describe_no_moment,
)

MAX_COMMAND_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 128  # levels; the command itself is the first
VERSION = 1
_OBJECT, _NULL, _STRING = b'{n"'  # with which values begin


def _fields_of(kind: object) -> dict[type[Command], tuple[str, ...]]:
    """The names of the fields of one type, by command."""
    return {
        command: tuple(
            one.name for one in msgspec.structs.fields(command) if hints[one.name] == kind
        )
        for command in COMMAND_TYPES.values()
        if (hints := get_type_hints(command, include_extras=True))
    }


_DOCUMENTS = _fields_of(Document)
_VALUES = _fields_of(Raw)
_PAYLOADS = {command: _DOCUMENTS[command] + _VALUES[command] for command in _DOCUMENTS}
_PINS = _fields_of(Pin)

# Nothing is read from these any more, not even the sender.
_UNREAD = (
    DeadReason.TOO_LARGE,
    DeadReason.BATCH_TOO_LARGE,
    DeadReason.TOO_DEEP,
    DeadReason.NOT_JSON,
    DeadReason.NOT_AN_OBJECT,
)


class _Asking(Struct):
    id: Uuid
    reply_to: Name


class _Sender(Struct):
    id: Uuid
    user_id: Name | None = None
    reply_to: Name | None = None


_command = msgspec.json.Decoder(AnyCommand)  # knows no forms of texts
_strict = msgspec.json.Decoder(enforcing(AnyCommand))
_asking = msgspec.json.Decoder(enforcing(_Asking))
_sender = msgspec.json.Decoder(enforcing(_Sender))
_any_json = msgspec.json.Decoder(Raw)
_header = msgspec.json.Decoder(dict[str, Raw])
_objects = msgspec.json.Decoder(list[dict[str, Raw]])


def decode(
    key: bytes | None,
    value: bytes | None,
    max_bytes: int = MAX_COMMAND_BYTES,
    *,
    bounded: bool = True,
) -> Command | Dead:
    """The command that a record of `execution.commands.v1` carries, with its text cleaned.

    Without `bounded` its size, growth and numbers are not judged: so a record is read that was
    judged before there was a bound.
    """
    if value is None:
        return Dead(DeadReason.NOT_JSON, {"message": "The record has no value"})
    if isinstance(value, OmittedValue) or (bounded and len(value) > max_bytes):
        return _too_large(value, max_bytes)
    if may_be_deeper(value, MAX_DEPTH) and depth(value) > MAX_DEPTH:
        message = f"The command has more than {MAX_DEPTH} levels of lists and objects"
        return Dead(DeadReason.TOO_DEEP, {"message": message, "limit": MAX_DEPTH})
    command = _command_in(value, bounded=bounded)
    if type(command) is Dead:
        return command
    if command.v not in (VERSION, None):
        return _unsupported(command.v)
    dead = _check_fields(command, value, bounded=bounded) or _check_key(command, key)
    if dead is None and bounded:
        dead = _check_numbers(command, len(value))
    return dead or command


def _command_in(value: bytes, *, bounded: bool) -> Command | Dead:
    try:
        if not value.isascii():
            value.decode()  # msgspec does not look inside raw values
        if bounded and has_many_values(value):
            return _look_closely(value, bounded=bounded)
        command: Command = _command.decode(value)
        return command if has_forms(command) else _judged(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _look_closely(value, bounded=bounded)


def _judged(value: bytes) -> Command:
    """The command, if its texts match their forms. Raises msgspec.DecodeError."""
    _strict.decode(value)
    command: Command = _command.decode(value)
    return command


def _too_large(value: bytes, max_bytes: int) -> Dead:
    if not isinstance(value, OmittedValue):
        return too_large(len(value), max_bytes)
    if value.size is not None:
        return too_large(value.size, min(max_bytes, value.limit))
    message = f"Its compressed batch has more than {value.limit:,} bytes before this record"
    span = {"first_offset": value.offsets[0], "last_offset": value.offsets[-1]}
    return Dead(DeadReason.BATCH_TOO_LARGE, {"message": message, "limit": value.limit, **span})


def too_large(size: int | None, limit: int) -> Dead:
    """Return the dead letter of a value of `size` bytes, None if unknown, above `limit`."""
    message = f"The command has more than {limit:,} bytes"
    sizes = {"limit": limit} if size is None else {"bytes": size, "limit": limit}
    return Dead(DeadReason.TOO_LARGE, {"message": message, **sizes})


def asks(value: bytes | None, dead: Dead) -> tuple[str, str] | None:
    """Return the reply that a dead record asks for: (reply_to, command id); None when it asks for
    none, or when that cannot be read.
    """
    if value is None or dead.reason in _UNREAD:
        return None
    try:
        asking = _asking.decode(value)
    except msgspec.DecodeError:
        return None
    return asking.reply_to, asking.id


class Sender(NamedTuple):
    """The identity of a command that is not decoded; fields that cannot be read are None."""

    command_id: str | None = None
    user_id: str | None = None
    reply_to: str | None = None

    @property
    def asks(self) -> tuple[str, str] | None:
        """(reply_to, command id) of a command that asks for its outcome."""
        if self.reply_to is None or self.command_id is None:
            return None
        return self.reply_to, self.command_id


def read_sender(value: bytes | None) -> Sender:
    """Read the sender of a command, without its payloads."""
    try:
        found = _sender.decode(value or b"")
    except NOT_READABLE:
        return Sender()
    return Sender(found.id, found.user_id, found.reply_to)


def _look_closely(value: bytes, *, bounded: bool) -> Command | Dead:
    """Why msgspec would not have it, in the contract's order; or the command it is all the same:
    of equal keys the last wins, and msgspec judges each of them."""
    header = _read_header(value)
    if isinstance(header, Dead):
        return header
    if bounded and has_many_values(value):
        return _invalid("$", f"Expected at most {MAX_VALUES:,} values and names")
    with suppress(KeyError, msgspec.DecodeError):  # other faults of these nodes are found below
        nodes = _objects.decode(header["starting_nodes"])
        header["starting_nodes"] = Raw(msgspec.json.encode(nodes))
    try:
        return _judged(msgspec.json.encode(header))
    except msgspec.DecodeError as error:
        return _invalid(*describe_misfit(str(error)))


def _read_header(value: bytes) -> dict[str, Raw] | Dead:
    """The fields of an object with a known version and type; otherwise the dead letter."""
    try:
        value.decode()
        _any_json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as not_json:
        return Dead(DeadReason.NOT_JSON, {"message": describe_malformed(not_json)})
    if not value.lstrip().startswith(b"{"):
        return Dead(DeadReason.NOT_AN_OBJECT, {"message": "The record is JSON, but no object"})
    header = _header.decode(value)
    version = _parsed(header.get("v"))
    if type(version) is int and version != VERSION:
        return _unsupported(version)
    kind = _parsed(header.get("type"))
    if not isinstance(kind, str) or kind not in COMMAND_TYPES:
        return _unknown_type(kind)
    return header


def _unknown_type(kind: object) -> Dead:
    types = ", ".join(COMMAND_TYPES)
    message = f"The field type must be one of {types}"
    return Dead(DeadReason.UNKNOWN_TYPE, {"message": message, "type": _quoted(kind)})


def _parsed(raw: Raw | None) -> Any:
    """A small scalar of a header; None for any other value."""
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None


def _check_fields(command: Command, value: bytes, *, bounded: bool) -> Dead | None:
    """Check rules that types cannot express (valid times, objects where objects are meant) and
    clean the text.
    """
    try:
        command.time  # noqa: B018 - the check is that it can be read
    except ValueError as error:
        return _invalid("$.at", describe_no_moment(error))
    kind = command.__class__
    for name in _DOCUMENTS[kind]:
        raw = getattr(command, name)
        if raw is UNSET or (first := memoryview(raw)[0]) == _OBJECT:
            continue
        if first != _NULL:
            return _invalid(f"$.{name}", "Expected an object")
        setattr(command, name, UNSET)
    if found := _misfit(command) or (excess(command) if kind in GROWING and bounded else None):
        return _invalid(*found)
    if may_need_cleaning(value):
        return _clean(command)
    return None


def _misfit(command: Command) -> tuple[str, str] | None:
    """The field that rules of one command alone find wrong, and a sentence about it."""
    if command.__class__ is CreateGraph and command.attributes is not UNSET:
        wrong = describe_attributes(command.attributes)
        return None if wrong is None else ("$.attributes", wrong)
    if command.__class__ is ShareGraph and command.is_shared and not command.share_token_hash:
        return "$.share_token_hash", "Sharing needs the SHA-256 of the token"
    return None


def _clean(command: Command) -> Dead | None:
    """Take control characters out of payloads and pin names; names may not become empty."""
    kind = type(command)
    for name in _PAYLOADS[kind]:
        raw = getattr(command, name)
        if raw is not UNSET:
            setattr(command, name, Raw(clean_json(bytes(raw))))
    for pin in _PINS[kind]:
        setattr(command, pin, clean_text(getattr(command, pin)))
        if not getattr(command, pin):
            return _invalid(f"$.{pin}", "Nothing is left without control characters")
    if isinstance(command, SetKeyValue):
        command.name = clean_text(command.name)
    if isinstance(command, CreateGraph):
        for index, node in enumerate(command.starting_nodes):
            node.inputs = {
                clean_text(pin): Raw(clean_json(bytes(raw))) for pin, raw in node.inputs.items()
            }
            if "" in node.inputs:
                path = f"$.starting_nodes[{index}].inputs"
                return _invalid(path, "Nothing is left of a pin name without control characters")
    return None


def _check_key(command: Command, key: bytes | None) -> Dead | None:
    if key == command.key.encode():
        return None
    found = None if key is None else key[:MAX_QUOTE].decode(errors="replace")
    field = "user_id" if isinstance(command, SetKeyValue) else "graph_exec_id"
    message = f"The record's key must be the {field} of its command"
    detail = {"message": message, "expected": command.key, "found": found}
    return Dead(DeadReason.KEY_MISMATCH, detail)


def _check_numbers(command: Command, size: int) -> Dead | None:
    """The dead letter when Postgres cannot hold a number, or all numbers would take too much."""
    kind = command.__class__
    payloads = [raw for name in _DOCUMENTS[kind] if (raw := getattr(command, name)) is not UNSET]
    for name in _VALUES[kind]:
        raw = getattr(command, name)
        if memoryview(raw)[0] != _STRING:
            payloads.append(raw)
    if command.__class__ is CreateGraph:
        for node in command.starting_nodes:
            payloads += node.inputs.values()
    detail = unstorable(b",".join(payloads), size) if payloads else None
    return None if detail is None else Dead(DeadReason.NOT_STORABLE, detail)


def _unsupported(version: int | None) -> Dead:
    message = f"The field v must be {VERSION}, or left out"
    detail = {"message": message, "found": _quoted(version), "supported": VERSION}
    return Dead(DeadReason.UNSUPPORTED_VERSION, detail)


def _invalid(path: str, message: str) -> Dead:
    return Dead(DeadReason.INVALID_FIELD, {"path": _quoted(path), "message": _quoted(message)})


def _quoted(value: Any) -> str | None:
    """The value as a text that fits into a header, whatever its size."""
    return None if value is None else str(value)[:MAX_QUOTE]
