"""Ends of runs on their way to the webhook.

An end is written in the transaction that moves the offset of the tally beyond its event, under the
run and the `seq` of the event. So there is one row for each end, whichever worker dies, and a row
that comes again is dropped.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from execstream.storage.alerts.outbox import LEASE, MOST_AT_ONCE, MOST_TRIED
from execstream.streams.totals.run_ends import RunEnd

KEPT_DAYS = 7  # of the delivery log
TYPE = "run.ended"


class EndMessage(NamedTuple):
    """`id`: run and seq, with a slash between; `json`: a RunMessage; `tries`: this one included."""

    id: str
    json: bytes
    tries: int


class EndedRun(msgspec.Struct):
    """A run as it ended; `seq` is that of the event."""

    graph_exec_id: str
    graph_id: str
    user_id: str
    status: str
    seq: int
    dry_run: bool
    ended_at: datetime


class RunMessage(msgspec.Struct):
    """The document that the webhook gets about the end of a run."""

    message_id: str
    type: str
    at: datetime
    run: EndedRun


_ADD = """
insert into run_message (graph_exec_id, seq, status, graph_id, user_id, dry_run, ended_at)
select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bool[],
                     $7::timestamptz[])
on conflict do nothing
"""


async def add_run_ends(connection: asyncpg.Connection, ends: Sequence[RunEnd]) -> None:
    """Add ends to send; those that are there already stay as they are."""
    await connection.execute(_ADD, *map(list, zip(*ends, strict=True)))


# An end of a run waits for those before it. Postgres' time is that of the transaction.
_DUE = f"""
update run_message
   set next_try_at = now() + make_interval(secs => {LEASE}), tries = tries + 1
 where (graph_exec_id, seq) in (
    select graph_exec_id, seq from run_message due
     where next_try_at <= now() and at > now() - make_interval(hours => {MOST_TRIED})
       and not exists (select from run_message earlier
                        where earlier.graph_exec_id = due.graph_exec_id and earlier.seq < due.seq
                          and earlier.next_try_at is not null
                          and earlier.at > now() - make_interval(hours => {MOST_TRIED}))
     order by next_try_at, at limit {MOST_AT_ONCE} for update skip locked)
returning graph_exec_id::text, seq, status, graph_id, user_id, dry_run, ended_at, at, tries
"""


async def take_due(connection: asyncpg.Connection) -> list[EndMessage]:
    """Take ends that are due; ours for LEASE seconds."""
    return [_message(row) for row in await connection.fetch(_DUE)]


_DELIVERED = """
update run_message set delivered_at = now(), next_try_at = null, last_error = null
 where graph_exec_id = $1::text::uuid and seq = $2
"""


async def mark_delivered(connection: asyncpg.Connection, message: EndMessage) -> None:
    await connection.execute(_DELIVERED, *_key(message))


_FAILED = """
update run_message set next_try_at = now() + make_interval(secs => $3), last_error = $4
 where graph_exec_id = $1::text::uuid and seq = $2 and next_try_at is not null
"""


async def mark_failed(
    connection: asyncpg.Connection, message: EndMessage, error: str, pause: float
) -> None:
    """Have it tried again in `pause` seconds."""
    await connection.execute(_FAILED, *_key(message), pause, error)


async def delete_old(connection: asyncpg.Connection) -> None:
    """Delete the ends that were written more than KEPT_DAYS ago."""
    await connection.execute(
        "delete from run_message where at < now() - make_interval(days => $1)", KEPT_DAYS
    )


_encode = msgspec.json.Encoder().encode


def _message(row: Any) -> EndMessage:
    message_id = f"{row['graph_exec_id']}/{row['seq']}"
    run = EndedRun(**{name: row[name] for name in EndedRun.__struct_fields__})
    document = RunMessage(message_id, TYPE, row["at"], run)
    return EndMessage(message_id, _encode(document), row["tries"])


def _key(message: EndMessage) -> tuple[str, int]:
    run_id, _, seq = message.id.partition("/")
    return run_id, int(seq)
