"""What did not go through: refusals and dead letters, newest first."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from pydantic import BaseModel

from storage.reads import InvalidCursor
from storage.reads.querying import Where, parse_id

MOST_VALUE_BYTES = 64 * 1024

_Place = tuple[datetime, int, int]
_decode_place = msgspec.json.Decoder(_Place).decode


class RefusalItem(BaseModel):
    """A command that was understood, and changed nothing. `source`: partition and offset."""

    command_id: str
    graph_exec_id: str | None
    user_id: str
    command_type: str
    reason: str
    detail: dict[str, Any]
    at: datetime
    source: tuple[int, int]


async def list_refusals(
    db: asyncpg.Pool,
    user_id: str | None,
    graph_exec_id: str | None,
    reason: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[RefusalItem], str | None]:
    """A page of refusals, and the cursor of the next one."""
    where = Where()
    where.add("user_id = {}", user_id)
    where.add_id("graph_exec_id = {}", graph_exec_id)
    where.add("reason = {}", reason)
    _go_on(where, "(at, source_partition, source_offset)", cursor)
    rows = await db.fetch(
        f"""select command_id, graph_exec_id, user_id, command_type, reason, detail, at,
                source_partition, source_offset
            from refusal where {where}
            order by at desc, source_partition desc, source_offset desc
            limit {where.arg(limit + 1)}""",
        *where.args,
    )
    items = [
        RefusalItem(
            command_id=str(row["command_id"]),
            graph_exec_id=None if row["graph_exec_id"] is None else str(row["graph_exec_id"]),
            user_id=row["user_id"],
            command_type=row["command_type"],
            reason=row["reason"],
            detail=row["detail"],
            at=row["at"],
            source=(row["source_partition"], row["source_offset"]),
        )
        for row in rows[:limit]
    ]
    last = items[-1] if len(rows) > limit else None
    return items, None if last is None else _cursor(last.at, *last.source)


class DeadLetterItem(BaseModel):
    """A record that could not be understood or stored; `bytes` is the size of its value."""

    id: str
    topic: str
    partition: int
    offset: int
    key: str | None
    bytes: int
    reason: str
    detail: dict[str, Any]
    received_at: datetime
    redriven_at: datetime | None


class DeadLetter(DeadLetterItem):
    """With the beginning of its value, as far as that is text, and its headers in base64."""

    value: str | None
    headers: list[tuple[str, str | None]]


_COLUMNS = """id, topic, partition, "offset", key, coalesce(length(value), 0) as bytes, reason,
    detail, received_at, redriven_at"""


async def list_dead_letters(
    db: asyncpg.Pool, reason: str | None, cursor: str | None, limit: int
) -> tuple[list[DeadLetterItem], str | None]:
    """A page of dead letters, and the cursor of the next one."""
    where = Where()
    where.add("reason = {}", reason)
    _go_on(where, '(received_at, partition, "offset")', cursor)
    rows = await db.fetch(
        f"""select {_COLUMNS} from dead_letter where {where}
            order by received_at desc, partition desc, "offset" desc
            limit {where.arg(limit + 1)}""",
        *where.args,
    )
    items = [DeadLetterItem(**_fields(row)) for row in rows[:limit]]
    last = items[-1] if len(rows) > limit else None
    return items, None if last is None else _cursor(last.received_at, last.partition, last.offset)


_ONE = f"""
select {_COLUMNS}, substr(value, 1, {MOST_VALUE_BYTES}) as value, headers
  from dead_letter where id = $1
"""


async def get_dead_letter(db: asyncpg.Pool, dead_letter_id: str) -> DeadLetter | None:
    """A dead letter, or None."""
    row = await db.fetchrow(_ONE, parse_id(dead_letter_id))
    return None if row is None else DeadLetter(**_fields(row))


def _fields(row: asyncpg.Record) -> dict[str, Any]:
    return dict(row) | {
        "id": str(row["id"]),
        "key": _text(row["key"]),
        **({"value": _text(row["value"])} if "value" in row else {}),
    }


def _text(found: bytes | None) -> str | None:
    return None if found is None else found.decode(errors="replace")


def _go_on(where: Where, columns: str, cursor: str | None) -> None:
    if cursor is None:
        return
    try:
        place = _decode_place(urlsafe_b64decode(cursor))
    except ValueError as error:
        raise InvalidCursor(cursor) from error
    time, partition, offset = place
    where.add(f"{columns} < ({where.arg(time)}, {where.arg(partition)}, {{}})", offset)


def _cursor(*place: datetime | int) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode()
