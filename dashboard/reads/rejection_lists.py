"""Commands without an effect: refusals and dead letters, newest first."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Any

import asyncpg
import msgspec
from pydantic import BaseModel, WithJsonSchema

from execstream.dashboard.foreign_runs import shown_refusal
from execstream.storage.log.dead_letters import Filter, get_letter, newest_letters
from execstream.storage.querying import Where
from execstream.storage.reads.read_errors import InvalidCursor
from execstream.storage.schema.tables import REFUSALS
from execstream.storage.unreadable_rows import readable, reading_row
from execstream.streams.outcomes import Refusal
from execstream.streams.redriving import Letter

MOST_VALUE_BYTES = 64 * 1024

# A name and a value or null. Tools take a list of schemas for a part that may be null as malformed.
_PAIR = {
    "type": "array",
    "items": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "minItems": 2,
    "maxItems": 2,
}
_PageCursor = tuple[datetime, int, int]  # when, and partition and offset
_decode_cursor = msgspec.json.Decoder(_PageCursor).decode


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


# The reason as `shown_refusal` has it.
_SHOWN_REASON = f"""case when reason <> '{Refusal.WRONG_OWNER}' then reason
    when command_type = 'graph.create' then '{Refusal.ALREADY_EXISTS}'
    else '{Refusal.UNKNOWN_GRAPH_EXECUTION}' end"""


async def list_refusals(
    db: asyncpg.Pool,
    user_id: str | None,
    graph_exec_id: str | None,
    reason: str | None,
    cursor: str | None,
    limit: int,
    *,
    is_own: bool = False,
) -> tuple[list[RefusalItem], str | None]:
    """A page of refusals, and the cursor of the next one; `is_own`: as the user may see them."""
    where = Where()
    where.add("user_id = {}", user_id)
    where.add_id("graph_exec_id = {}", graph_exec_id)
    where.add(f"{_SHOWN_REASON if is_own else 'reason'} = {{}}", reason)
    if cursor is not None:
        time, partition, offset = _place(cursor)
        place = f"({where.arg(time)}, {where.arg(partition)}, {{}})"
        where.add(f"(at, source_partition, source_offset) < {place}", offset)
    rows = await db.fetch(
        f"""select command_id, graph_exec_id, user_id, command_type, reason, detail, at,
                source_partition, source_offset
            from refusal where {where}
            order by at desc, source_partition desc, source_offset desc
            limit {where.arg(limit + 1)}""",
        *where.args,
    )
    last = rows[limit - 1] if len(rows) > limit else None
    next_cursor = last and _cursor(last["at"], last["source_partition"], last["source_offset"])
    items = readable(rows[:limit], _refusal)
    return [_shown(item) for item in items] if is_own else items, next_cursor


def _refusal(row: asyncpg.Record) -> RefusalItem:
    with reading_row(REFUSALS.name):
        return RefusalItem(
            command_id=str(row["command_id"]),
            graph_exec_id=None if row["graph_exec_id"] is None else str(row["graph_exec_id"]),
            user_id=row["user_id"],
            command_type=row["command_type"],
            reason=row["reason"],
            detail=row["detail"],
            at=row["at"],
            source=(row["source_partition"], row["source_offset"]),
        )


def _shown(item: RefusalItem) -> RefusalItem:
    reason, detail = shown_refusal(item.reason, item.detail, item.command_type, item.graph_exec_id)
    return item.model_copy(update={"reason": reason, "detail": detail})


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
    redriven_from: str | None


class DeadLetter(DeadLetterItem):
    """With the beginning of its value and its headers, as far as these are text."""

    value: str | None
    headers: list[Annotated[tuple[str, str | None], WithJsonSchema(_PAIR)]]


async def list_dead_letters(
    db: asyncpg.Pool, wanted: Filter, cursor: str | None, limit: int
) -> tuple[list[DeadLetterItem], str | None]:
    """A page of dead letters, and the cursor of the next one."""
    before = None if cursor is None else _place(cursor)
    found, place = await newest_letters(db, wanted, limit, before)
    items = [DeadLetterItem(**_fields(one.letter, one.bytes)) for one in found]
    return items, place and _cursor(*place)


async def get_dead_letter(db: asyncpg.Pool, dead_letter_id: str) -> DeadLetter | None:
    """A dead letter, or None."""
    letter = await get_letter(db, dead_letter_id)
    if letter is None:
        return None
    value = letter.value
    details = {
        "value": None if value is None else _text(value[:MOST_VALUE_BYTES]),
        "headers": [(name, _text(one)) for name, one in letter.headers],
    }
    return DeadLetter(**_fields(letter, len(value or b"")) | details)


def _fields(letter: Letter, size: int) -> dict[str, Any]:
    return letter._asdict() | {
        "key": _text(letter.key),
        "bytes": size,
        "redriven_from": letter.redriven_from,
    }


def _text(found: bytes | None) -> str | None:
    return None if found is None else found.decode(errors="replace")


def _place(cursor: str) -> _PageCursor:
    try:
        place: _PageCursor = _decode_cursor(urlsafe_b64decode(cursor))
    except ValueError as error:
        raise InvalidCursor(cursor) from error
    return place


def _cursor(*place: datetime | int) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode()
