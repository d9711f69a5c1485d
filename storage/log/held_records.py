"""Reads of the quarantine: its open records, and the positions of the topic set aside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from execstream.storage.connections import quoted
from execstream.storage.log.dead_letters import RecordPosition
from execstream.storage.schema.tables import DEAD_LETTERS, QUARANTINE
from execstream.storage.unreadable_rows import readable, reading_row
from execstream.streams.decoding import Sender
from execstream.streams.outcomes import Dead, DeadReason, Quarantined, QuarantineReason
from execstream.streams.quarantine import Release, SetAside, copy_headers
from execstream.streams.redriving import Headers, Redriven

_decode_headers = msgspec.json.Decoder(Headers).decode
_decode_detail = msgspec.json.Decoder(dict[str, Any]).decode


class Held(NamedTuple):
    """The first record of a key in quarantine; `waiting`: records parked behind it, and `bytes` of
    all of them."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    user_id: str | None
    command_id: str | None
    detail: dict[str, Any]
    received_at: datetime
    set_aside_at: datetime
    waiting: int
    bytes: int


class HeldRecord(NamedTuple):
    """A record in quarantine."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    bytes: int
    reason: QuarantineReason
    detail: dict[str, Any]
    command_id: str | None
    set_aside_at: datetime


# A record without a key has nothing behind it.
_QUEUE = "partition, coalesce(key, convert_to(\"offset\"::text, 'UTF8')), key is null"
_FIRSTS = f"""
select distinct on ({_QUEUE}) q.*, detail::text as detail_text,
       count(*) over (partition by {_QUEUE}) - 1 as waiting,
       sum(bytes) over (partition by {_QUEUE})::bigint as all_bytes
  from (select topic, partition, "offset", key, user_id, command_id, detail, received_at,
               set_aside_at, bytes
          from quarantine where released_at is null and topic = $1) q
 order by {_QUEUE}, "offset"
"""
_HELD = f'select * from ({_FIRSTS}) firsts order by set_aside_at, partition, "offset" limit $2'


async def list_held(db: asyncpg.Pool, topic: str, limit: int) -> list[Held]:
    """List records in quarantine, by key, the oldest first."""
    return readable(await db.fetch(_HELD, topic, limit), _held)


def _held(row: asyncpg.Record) -> Held:
    with reading_row(QUARANTINE.name):
        return Held(
            *(row["topic"], row["partition"], row["offset"], row["key"], row["user_id"]),
            row["command_id"] and str(row["command_id"]),
            _decode_detail(row["detail_text"]),
            *(row["received_at"], row["set_aside_at"], row["waiting"], row["all_bytes"]),
        )


_RECORDS = """
select partition, "offset", key, {value} as value, headers::text as headers, bytes, reason,
       detail::text as detail, command_id, set_aside_at
  from quarantine
 where topic = $1 and partition = $2 and released_at is null
   and key is not distinct from $3 and (key is not null or "offset" = $4) and "offset" > $5
 order by "offset" limit $6
"""


async def list_records(
    db: asyncpg.Pool, held: Held, limit: int, *, values: bool, after: int = -1
) -> list[HeldRecord]:
    """Records of the key of `held` behind offset `after`, in order, without their values unless
    asked for."""
    statement = _RECORDS.format(value="value" if values else "null::bytea")
    rows = await db.fetch(
        statement, held.topic, held.partition, held.key, held.offset, after, limit
    )
    return [_record(row) for row in rows]  # none is left out: those behind it must wait


def _record(row: asyncpg.Record) -> HeldRecord:
    with reading_row(QUARANTINE.name):
        return HeldRecord(
            *(row["partition"], row["offset"], row["key"], row["value"]),
            *(_decode_headers(row["headers"]), row["bytes"], QuarantineReason(row["reason"])),
            _decode_detail(row["detail"]),
            row["command_id"] and str(row["command_id"]),
            row["set_aside_at"],
        )


def copies_of(records: Sequence[HeldRecord], first: Release) -> list[Redriven]:
    """Copies that release `records`; `first` is the release of the first of them."""
    releases = [first, *[Release.RETRY] * len(records)]
    return [
        Redriven(
            # Kafka's producer takes nothing that has neither key nor value.
            b"" if record.key is None and record.value is None else record.key,
            record.value,
            copy_headers(record.headers, record.offset, release),
            record.partition,
        )
        for record, release in zip(records, releases, strict=False)
    ]


class Trace(NamedTuple):
    """The quarantine's entry of a record: it waits there, or its copy took effect at the offset
    `released_by`.
    """

    user_id: str | None
    outcome: Quarantined
    released_by: int | None


_AT = """
select user_id, reason, detail::text as detail, released_by from quarantine
 where topic = $1 and partition = $2 and "offset" = $3
"""


async def trace_at(db: asyncpg.Pool, topic: str, partition: int, offset: int) -> Trace | None:
    """Return the entry of a record in quarantine; None when it was not set aside."""
    row = await db.fetchrow(_AT, topic, partition, offset)
    return None if row is None else _trace(row)


_OF_COMMAND = """
select user_id, reason, detail::text as detail, released_by from quarantine
 where command_id = $1 and key = convert_to($2, 'UTF8') and released_at is null
 order by "offset" limit 1
"""


async def trace_of(db: asyncpg.Pool, key: str, command_id: object) -> Trace | None:
    """The command of that key and id while it is in quarantine."""
    row = await db.fetchrow(_OF_COMMAND, command_id, key)
    return None if row is None else _trace(row)


def _trace(row: asyncpg.Record) -> Trace:
    with reading_row(QUARANTINE.name):
        outcome = Quarantined(QuarantineReason(row["reason"]), _decode_detail(row["detail"]))
    return Trace(row["user_id"], outcome, row["released_by"])


_SET_ASIDE = """
select partition, "offset" from {schema}.quarantine where topic = $1
"""
_DEAD = """
select partition, "offset", reason, detail::text as detail from {schema}.dead_letter
 where topic = $1 and reason = any ($2::text[])
"""
# Reasons that depend on the content of the quarantine at the time, which the topic does not have.
_REASONS: Sequence[str] = (DeadReason.QUARANTINED, DeadReason.RUN_QUARANTINED)


async def judged_positions(
    connection: asyncpg.Connection, schema: str, topic: str
) -> Mapping[RecordPosition, Dead | SetAside]:
    """Records of `topic` whose outcome the quarantine of `schema` has decided; empty when there is
    no such schema.
    """
    name = quoted(schema)
    if not await connection.fetchval("select to_regclass($1) is not null", f"{name}.quarantine"):
        return {}
    # Why it was set aside does not matter to a fold.
    set_aside = SetAside(Quarantined(QuarantineReason.PARKED), Sender())
    positions = await connection.fetch(_SET_ASIDE.format(schema=name), topic)
    dead = await connection.fetch(_DEAD.format(schema=name), topic, _REASONS)
    return {
        **{(row["partition"], row["offset"]): set_aside for row in positions},
        **dict(readable(dead, _dead)),
    }


def _dead(row: asyncpg.Record) -> tuple[RecordPosition, Dead]:
    with reading_row(DEAD_LETTERS.name):
        dead = Dead(DeadReason(row["reason"]), _decode_detail(row["detail"]))
        return (row["partition"], row["offset"]), dead
