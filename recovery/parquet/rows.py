"""Rows and schemas of the exported tables, all of them made from events.

`events` has every event; `runs` and `steps` have a row for each end of a run or step, so that one
which is resumed and ends again has another row, with a higher `seq`. Documents are JSON as text.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args

import msgspec
import pyarrow as pa
from msgspec import UNSET, Raw, UnsetType

from execstream.streams.errors import NOT_READABLE
from execstream.streams.events import Event
from execstream.streams.statuses import ENDED

Row = dict[str, Any]

_TIME = pa.timestamp("us", tz="UTC")
_TYPES = {bool: pa.bool_(), int: pa.int64(), datetime: _TIME}
_SOURCE = ("source_partition", "source_offset", "source_index")
_ENDS = (
    *(("graph_exec_id", pa.string()), ("graph_id", pa.string()), ("graph_version", pa.int64())),
    *(("user_id", pa.string()), ("status", pa.string()), ("seconds", pa.float64())),
    *(("cost", pa.float64()), ("error", pa.string()), ("stats", pa.string())),
    *(("seq", pa.int64()), ("at", _TIME), ("dry_run", pa.bool_()), ("imported", pa.string())),
    *((name, pa.int64()) for name in _SOURCE),
)


class Kind(StrEnum):
    """What is exported."""

    EVENTS = "events"
    RUNS = "runs"
    STEPS = "steps"


class _Stats(msgspec.Struct):
    cost: Any = None
    error: Any = None


def _type_of(annotation: Any) -> pa.DataType:
    """The type of a field of an event: other types are texts."""
    kinds = [one for one in get_args(annotation) or (annotation,) if one is not UnsetType]
    return next((_TYPES[one] for one in kinds if one in _TYPES), pa.string())


_FIELDS = {
    field.name: _type_of(field.type)
    for field in msgspec.structs.fields(Event)
    if field.name != "source"
}
SCHEMAS = {
    Kind.EVENTS: pa.schema([*_FIELDS.items(), *((name, pa.int64()) for name in _SOURCE)]),
    Kind.RUNS: pa.schema([*_ENDS, ("started_at", _TIME), ("ended_at", _TIME)]),
    Kind.STEPS: pa.schema(
        [
            *(("node_exec_id", pa.string()), ("node_id", pa.string()), ("block_id", pa.string())),
            *_ENDS,
            *((f"{name}_time", _TIME) for name in ("added", "queued", "started", "ended")),
        ]
    ),
}


def rows_of(kind: Kind, events: Iterable[Event]) -> list[Row]:
    """The rows of `kind` for some events."""
    make = {Kind.EVENTS: _event, Kind.RUNS: _end_of_run, Kind.STEPS: _end_of_step}[kind]
    return [row for event in events if (row := make(event)) is not None]


def table_of(kind: Kind, rows: list[Row]) -> pa.Table:
    """The rows as a table of Arrow."""
    return pa.Table.from_pylist(rows, schema=SCHEMAS[kind])


def _event(event: Event) -> Row:
    values = {name: _plain(getattr(event, name)) for name in _FIELDS}
    return values | dict(zip(_SOURCE, event.source, strict=True))


def _end_of_run(event: Event) -> Row | None:
    if event.status not in ENDED or event.node_exec_id is not UNSET:
        return None
    return _end(event, event.started_at, event.ended_at)


def _end_of_step(event: Event) -> Row | None:
    if event.status not in ENDED or event.node_exec_id is UNSET:
        return None
    return _end(event, event.started_time, event.ended_time)


def _end(event: Event, started: object, ended: object) -> Row:
    """The columns of both kinds of ends, beside those that are fields of the event."""
    is_timed = isinstance(started, datetime) and isinstance(ended, datetime)
    cost, error = _stats(event.stats)
    return _event(event) | {
        "seconds": (ended - started).total_seconds() if is_timed else None,  # type: ignore[operator]
        "cost": cost,
        "error": error,
    }


def _stats(stats: Raw | UnsetType) -> tuple[float | None, str | None]:
    """Cost in cents and error text, as far as the producer of a run sent them."""
    if stats is UNSET:
        return None, None
    try:
        known = msgspec.json.decode(stats, type=_Stats)
    except NOT_READABLE:
        return None, None
    is_number = isinstance(known.cost, int | float) and not isinstance(known.cost, bool)
    error = known.error if isinstance(known.error, str | None) else str(known.error)
    try:
        return float(known.cost) if is_number else None, error
    except OverflowError:
        return None, error


def _plain(value: object) -> object:
    if value is UNSET:
        return None
    return str(value, "utf-8") if isinstance(value, Raw) else value
