"""Dead letters: finding them, and putting them back once.

Statements hand JSON over as text, whatever the connection makes of it elsewhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import asyncpg
import msgspec

from execstream.storage.querying import Where, parse_id
from execstream.storage.schema.tables import DEAD_LETTERS
from execstream.storage.unreadable_rows import readable, reading_row
from execstream.streams.outcomes import Dead, DeadReason
from execstream.streams.redriving import Headers, Letter

Answer = TypeVar("Answer")
RecordPosition = tuple[int, int]  # partition and offset on the commands topic

_decode_headers = msgspec.json.Decoder(Headers).decode
_decode_detail = msgspec.json.Decoder(dict[str, Any]).decode

_COLUMNS = """id, topic, partition, "offset", key, {value} as value, headers::text as headers,
    reason, detail::text as detail, received_at, redriven_at"""
_ORDER = 'order by topic, partition, "offset"'


class Filter(NamedTuple):
    """Which dead letters are meant: all of these hold; `ids` empty: any. `since` and `until` are
    about when the record was received."""

    ids: Sequence[str] = ()
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_redriven: bool | None = None


class Found(NamedTuple):
    """A dead letter without its value, only with the size of it."""

    letter: Letter
    bytes: int


async def find_letters(db: asyncpg.Pool, wanted: Filter, limit: int) -> list[Found]:
    """Find the dead letters that `wanted` describes, by topic, partition and offset."""
    return readable(await _find(db, _where(wanted), _ORDER, limit), _found)


async def count_letters(db: asyncpg.Pool, wanted: Filter) -> int:
    """The number of dead letters that `wanted` describes."""
    where = _where(wanted)
    total: int = await db.fetchval(f"select count(*) from dead_letter where {where}", *where.args)
    return total


Position = tuple[datetime, int, int]  # when it was received, its partition and offset


async def newest_letters(
    db: asyncpg.Pool, wanted: Filter, limit: int, before: Position | None
) -> tuple[list[Found], Position | None]:
    """A page of those that `wanted` describes, newest first, after the one at `before`; and the
    position that the next page begins after, None when there is none."""
    where = _where(wanted)
    if before is not None:
        time, partition, offset = before
        place = f"({where.arg(time)}, {where.arg(partition)}, {{}})"
        where.add(f'(received_at, partition, "offset") < {place}', offset)
    order = 'order by received_at desc, partition desc, "offset" desc'
    rows = await _find(db, where, order, limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    next_position = last and (last["received_at"], last["partition"], last["offset"])
    return readable(rows[:limit], _found), next_position


def _where(wanted: Filter) -> Where:
    where = Where()
    if wanted.ids:
        where.add("id = any ({}::uuid[])", [parse_id(one) for one in wanted.ids])
    where.add("reason = {}", wanted.reason)
    where.add("received_at >= {}", wanted.since)
    where.add("received_at < {}", wanted.until)
    where.add("(redriven_at is not null) = {}", wanted.is_redriven)
    return where


async def _find(db: asyncpg.Pool, where: Where, order: str, limit: int) -> list[asyncpg.Record]:
    columns = _COLUMNS.format(value="null::bytea")
    rows: list[asyncpg.Record] = await db.fetch(
        f"""select {columns}, coalesce(length(value), 0) as bytes
              from dead_letter where {where} {order} limit {where.arg(limit)}""",
        *where.args,
    )
    return rows


def _found(row: asyncpg.Record) -> Found:
    return Found(_letter(row), row["bytes"])


async def get_letter(db: asyncpg.Pool, letter_id: str) -> Letter | None:
    """The dead letter with its value, or None."""
    row = await db.fetchrow(
        f"select {_COLUMNS.format(value='value')} from dead_letter where id = $1",
        parse_id(letter_id),
    )
    return None if row is None else _letter(row)


def _letter(row: asyncpg.Record) -> Letter:
    with reading_row(DEAD_LETTERS.name):
        return Letter(
            str(row["id"]),
            row["topic"],
            row["partition"],
            row["offset"],
            row["key"],
            row["value"],
            _decode_headers(row["headers"]),
            DeadReason(row["reason"]),
            _decode_detail(row["detail"]),
            row["received_at"],
            row["redriven_at"],
        )


_TAKE = f"""
select {_COLUMNS.format(value="value")} from dead_letter where id = any ($1::uuid[])
{_ORDER} for update
"""
_MARK = "update dead_letter set redriven_at = clock_timestamp() where id = any ($1::uuid[])"


async def put_back(
    db: asyncpg.Pool,
    ids: Sequence[str],
    send: Callable[[Letter], Awaitable[RecordPosition]],
    *,
    again: bool = False,
) -> list[tuple[Letter, RecordPosition]]:
    """Send those of `ids` that were not redriven yet, or all of them `again`, and mark them.

    They are locked meanwhile, so that other operators who redrive them wait and then find them
    done. The mark follows Kafka's acknowledgement: a crash between the two leaves a letter that is
    redriven twice, and takes effect once, by the id of its command. `send` is called in the order
    of the records; an error of it is raised when those that were sent are marked. Being cancelled
    waits for that.
    """
    return await _unbroken(_put_back(db, ids, send, again=again))


async def _put_back(
    db: asyncpg.Pool,
    ids: Sequence[str],
    send: Callable[[Letter], Awaitable[RecordPosition]],
    *,
    again: bool,
) -> list[tuple[Letter, RecordPosition]]:
    async with db.acquire() as connection, connection.transaction():
        taken = [_letter(row) for row in await connection.fetch(_TAKE, ids)]
        letters = [letter for letter in taken if again or letter.redriven_at is None]
        answers = await asyncio.gather(*map(send, letters), return_exceptions=True)
        done = [
            (letter, place)
            for letter, place in zip(letters, answers, strict=True)
            if not isinstance(place, BaseException)
        ]
        await connection.execute(_MARK, [letter.id for letter, _ in done])
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return done


async def _unbroken(work: Coroutine[Any, Any, Answer]) -> Answer:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


_IS_REACHED = """
select next_offset > $3 from consumer_offset
 where consumer = 'apply' and topic = $1 and partition = $2
"""


async def is_reached(db: asyncpg.Pool, topic: str, place: RecordPosition) -> bool:
    """Return whether the workers have reached that position."""
    return bool(await db.fetchval(_IS_REACHED, topic, *place))


_AT_PLACE = """
select id::text from dead_letter where topic = $1 and partition = $2 and "offset" = $3
"""


async def letter_at(db: asyncpg.Pool, topic: str, place: RecordPosition) -> Letter | None:
    """The dead letter of the record at that place, or None."""
    found = await db.fetchval(_AT_PLACE, topic, *place)
    return None if found is None else await get_letter(db, found)


_AFTER = """
select * from dead_letter
 where topic = $1 and partition = $2 and "offset" > $3 and "offset" < $4
 order by "offset"
"""


class DeadLetterRecord(NamedTuple):
    """A dead letter as the original record, and the reason, without the kind of its timestamp."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    dead: Dead
    timestamp_type: int | None = None


async def dead_letters_after(
    connection: asyncpg.Connection, topic: str, partition: int, after: int, before: int
) -> list[DeadLetterRecord]:
    """Return the dead letters with `after` < offset < `before` (Kafka's offsets), in order."""
    return [
        DeadLetterRecord(
            topic,
            partition,
            row["offset"],
            round(row["received_at"].timestamp() * 1000),
            row["key"],
            row["value"],
            msgspec.json.decode(row["headers"], type=list[tuple[str, bytes | None]]),
            Dead(DeadReason(row["reason"]), msgspec.json.decode(row["detail"])),
        )
        for row in await connection.fetch(_AFTER, topic, partition, after, before)
    ]
