"""Bundles of an incident: all data of some runs, one JSON object per line.

Commands as they were on their topic, the journal, refusals, and the names of blocks and graphs; the
last line closes the bundle. Payloads are redacted before lines are written, commands and journal
alike.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from execstream.recovery.bundles.redaction import Redaction, is_name, is_value
from execstream.streams.errors import NOT_READABLE, Fatal

VERSION = 1

_STATS = "stats"
_DOCUMENTS = (
    *("inputs", "credential_inputs", "nodes_input_masks", "execution_data", "attributes"),
    _STATS,
)
# Values, and the fields that name them.
_NAMED = {"input_data": "input_name", "output_data": "output_name", "data": "key"}
# Fields that name the step or node of a value.
_OWNERS = ("node_exec_id", "new_node_exec_id", "node_id")
# Fields with a form in the contract; they hold no secrets.
_PLAIN = frozenset(
    (
        *("type", "id", "at", "user_id", "graph_exec_id", "reply_to", "v", "graph_id"),
        *("graph_version", "preset_id", "parent_graph_exec_id", "dry_run", "status", "is_shared"),
        *("share_token_hash", "hard", "node_id", "block_id", "node_exec_id", "new_node_exec_id"),
        *("node_exec_ids", "input_name", "output_name", "key"),
    )
)


class BrokenBundle(Fatal):
    """A file is not a bundle, or an incomplete one."""


class Line(Struct, tag_field="kind", omit_defaults=True, kw_only=True):
    """One line."""


class CommandLine(Line, tag="command", kw_only=True):
    """A record of the commands topic."""

    partition: int
    offset: int
    value: Raw


class EntryLine(Line, tag="entry", kw_only=True):
    """A row of `journal`."""

    graph_exec_id: str
    seq: int
    at: datetime
    command_id: str
    type: str
    source: tuple[int, int, int]
    node_exec_id: str | None = None
    name: str | None = None
    data: Raw | UnsetType = UNSET
    detail: Raw | UnsetType = UNSET
    was: str | None = None
    status: str | None = None


class RefusalLine(Line, tag="refusal", kw_only=True):
    """A row of `refusal`."""

    source: tuple[int, int]
    command_id: str
    graph_exec_id: str
    user_id: str
    command_type: str
    reason: str
    detail: Raw
    at: datetime


class BlockLine(Line, tag="block", kw_only=True):
    id: str
    name: str
    block_type: str


class GraphLine(Line, tag="graph", kw_only=True):
    id: str
    version: int
    name: str
    description: str | None = None


class EndLine(Line, tag="end", kw_only=True):
    """Closes a bundle. `lines`: the number of lines before."""

    version: int
    lines: int


AnyLine = CommandLine | EntryLine | RefusalLine | BlockLine | GraphLine | EndLine

encode_line = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(AnyLine).decode
_read_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def read_lines(text: bytes) -> list[AnyLine]:
    """The lines of a bundle, without the one that closes it. Raises BrokenBundle."""
    try:
        lines: list[AnyLine] = [_decode_line(line) for line in text.splitlines()]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenBundle(f"This is no bundle of execstream: {error}.") from None
    end = lines.pop() if lines else None
    if not isinstance(end, EndLine) or end.lines != len(lines):
        raise BrokenBundle("The bundle is cut off: export it again.")
    if end.version != VERSION:
        raise BrokenBundle(f"The bundle has version {end.version}; this program reads {VERSION}.")
    return lines


class Redactor:
    """Redacts lines; a first look at all of them finds secrets that only others give away.

    The pins of a step may be a pair, `name` with "api_key" and `value` with the key, each of them a
    line of its own; and a secret of one line is a secret in all.
    """

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._owners: set[str] = set()

    def redacted(self, lines: Sequence[AnyLine]) -> list[AnyLine]:
        """Return the lines without secrets, and without unreadable commands."""
        for _ in range(2):  # names before values, and values before the lines that repeat them
            for line in lines:
                self._line(line)
            self._redaction.begin_again()
        return [one for line in lines if (one := self._line(line)) is not None]

    def _line(self, line: AnyLine) -> AnyLine | None:
        match line:
            case CommandLine():
                value = self.command(bytes(line.value))
                return None if value is None else replace(line, value=value)
            case EntryLine():
                return self._entry(line)
            case RefusalLine():
                return replace(line, detail=self._value(line.detail, "detail"))
            case BlockLine():
                return replace(line, name=self._redaction.text(line.name, "block.name"))
            case GraphLine():
                texts = {"name": line.name, "description": line.description}
                return replace(
                    line,
                    **{
                        field: text and self._redaction.text(text, f"graph.{field}")
                        for field, text in texts.items()
                    },
                )
        return line

    def command(self, value: bytes) -> Raw | None:
        """Return the command with its payloads redacted; None for an unreadable one."""
        try:
            fields = _read_fields(value)
            names = {one: _text(fields.get(of)) for one, of in _NAMED.items()}
            owners = [owner for name in _OWNERS if (owner := _text(fields.get(name)))]
        except NOT_READABLE:
            return None
        for field in fields.keys() - _PLAIN:
            pin = names.get(field)
            fields[field] = self._value(fields[field], pin or field, field, pin, owners)
        return Raw(msgspec.json.encode(fields))

    def _entry(self, line: EntryLine) -> EntryLine:
        data, detail = line.data, line.detail
        if data is not UNSET:
            owners = [] if line.node_exec_id is None else [line.node_exec_id]
            data = self._value(data, line.name or "data", "data", line.name, owners)
        if detail is not UNSET:
            fields = _read_fields(detail)
            for field in fields.keys() & set(_DOCUMENTS):
                fields[field] = self._value(fields[field], field, field)
            detail = Raw(msgspec.json.encode(fields))
        return replace(line, data=data, detail=detail)

    def _value(
        self,
        json: Raw,
        name: str,
        field: str = "",
        pin: str | None = None,
        owners: Sequence[str] = (),
    ) -> Raw:
        value = bytes(json)
        if pin and is_name(pin) and self._redaction.is_name_of_secret(value):
            self._owners.update(owners)
        is_secret = bool(pin) and is_value(pin or "") and not self._owners.isdisjoint(owners)
        return Raw(
            self._redaction.apply(
                value,
                name,
                text_only=field == _STATS,
                is_secret=is_secret and self._redaction.looks_at_values,
            )
        )


def _text(json: Raw | None) -> str | None:
    value = None if json is None else msgspec.json.decode(json)
    return value if isinstance(value, str) else None


def in_order(lines: Iterable[AnyLine]) -> list[EntryLine]:
    """The entries among `lines`, run by run, each in order."""
    entries = [line for line in lines if isinstance(line, EntryLine)]
    return sorted(entries, key=lambda line: (line.graph_exec_id, line.seq))
