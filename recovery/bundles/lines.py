"""Bundles of an incident: what is known of some runs, one JSON object per line.

Commands as they stood on their topic, the journal, what was refused, and the names of blocks and
graphs; the last line closes the bundle. Payloads are redacted when lines are made, commands and
journal alike.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from execstream.recovery.bundles.redaction import Redaction
from execstream.streams.errors import Fatal

VERSION = 1

_STATS = "stats"
_DOCUMENTS = ("inputs", "credential_inputs", "nodes_input_masks", "execution_data", _STATS)
# Values, and the fields that name them.
_NAMED = {"input_data": "input_name", "output_data": "output_name", "data": "key"}
# What the contract gives a form; nothing of it is a secret.
_PLAIN = frozenset(
    (
        *("type", "id", "at", "user_id", "graph_exec_id", "reply_to", "v", "graph_id"),
        *("graph_version", "preset_id", "parent_graph_exec_id", "dry_run", "status", "is_shared"),
        *("share_token_hash", "hard", "node_id", "block_id", "node_exec_id", "new_node_exec_id"),
        *("node_exec_ids", "input_name", "output_name", "key"),
    )
)


class BrokenBundle(Fatal):
    """A file is no bundle, or not all of one."""


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
    """Closes a bundle. `lines`: how many came before."""

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


def redacted_command(value: bytes, redaction: Redaction) -> Raw | None:
    """The command with its payloads redacted; None for what cannot be read."""
    try:
        fields = _read_fields(value)
        names = {one: _text(fields.get(of)) for one, of in _NAMED.items()}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    for field in fields.keys() - _PLAIN:
        fields[field] = _redacted(fields[field], names.get(field) or field, field, redaction)
    return Raw(msgspec.json.encode(fields))


def redacted_entry(line: EntryLine, redaction: Redaction) -> EntryLine:
    """The entry with its value and documents redacted."""
    if line.data is not UNSET:
        line.data = _redacted(line.data, line.name or "data", "data", redaction)
    if line.detail is not UNSET:
        fields = _read_fields(line.detail)
        for field in fields.keys() & set(_DOCUMENTS):
            fields[field] = _redacted(fields[field], field, field, redaction)
        line.detail = Raw(msgspec.json.encode(fields))
    return line


def _redacted(json: Raw, name: str, field: str, redaction: Redaction) -> Raw:
    return Raw(redaction.apply(bytes(json), name, text_only=field == _STATS))


def _text(json: Raw | None) -> str | None:
    value = None if json is None else msgspec.json.decode(json)
    return value if isinstance(value, str) else None


def in_order(lines: Iterable[AnyLine]) -> list[EntryLine]:
    """The entries among `lines`, run by run, each in order."""
    entries = [line for line in lines if isinstance(line, EntryLine)]
    return sorted(entries, key=lambda line: (line.graph_exec_id, line.seq))
