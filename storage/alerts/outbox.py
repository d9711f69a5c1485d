"""Messages about alerts on their way out: to Redis, to the webhook, and to subscribers.

A message stays due until it has arrived, even if its worker dies; so it may arrive twice, with the
same id. For the webhook it is due for MOST_TRIED hours. The webhook gets the messages of an alert
in their order, each after the one before has arrived or is due no more.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec
from msgspec import Raw

MOST_AT_ONCE = 50
LEASE = 30.0  # seconds for one delivery; afterwards another worker tries
MOST_TRIED = 24  # hours; a message is not retried longer


class Message(NamedTuple):
    """`json`: `{"message_id", "type", "at", "alert"}`; `tries`: this one included."""

    id: int
    json: bytes
    tries: int = 0


_COLUMNS = "id, type, at, alert::text as alert, tries"

# ---- Redis -----------------------------------------------------------------------------------

# Longer than publishing may take: a stopped worker has given up when others go on.
IDLE_LIMIT = "15s"

# Not `skip locked`: later messages would overtake those that another publisher holds.
_UNPUBLISHED = f"""
select {_COLUMNS} from alert_message where published_at is null
 order by id limit {MOST_AT_ONCE} for update
"""
_PUBLISHED = "update alert_message set published_at = now() where id = any($1)"


async def take_unpublished(connection: asyncpg.Connection) -> list[Message]:
    """Take unpublished messages, in their order; ours until the transaction ends. Waits for a
    publisher that holds them now.
    """
    await connection.execute(f"set local idle_in_transaction_session_timeout = '{IDLE_LIMIT}'")
    return _messages(await connection.fetch(_UNPUBLISHED))


async def mark_published(connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
    await connection.execute(_PUBLISHED, [message.id for message in messages])


# ---- the webhook -----------------------------------------------------------------------------

_DUE = f"""
update alert_message
   set next_try_at = now() + make_interval(secs => {LEASE}), tries = tries + 1
 where id in (
    select id from alert_message due
     where next_try_at <= now() and at > now() - make_interval(hours => {MOST_TRIED})
       and not exists (select from alert_message earlier
                        where earlier.alert_id = due.alert_id and earlier.id < due.id
                          and earlier.next_try_at is not null
                          and earlier.at > now() - make_interval(hours => {MOST_TRIED}))
     order by id limit {MOST_AT_ONCE} for update skip locked)
returning {_COLUMNS}
"""


async def take_due(connection: asyncpg.Connection) -> list[Message]:
    """Take messages for the webhook that are due; ours for LEASE seconds."""
    return sorted(_messages(await connection.fetch(_DUE)))


_DELIVERED = """
update alert_message set delivered_at = now(), next_try_at = null, last_error = null where id = $1
"""


async def mark_delivered(connection: asyncpg.Connection, message: Message) -> None:
    await connection.execute(_DELIVERED, message.id)


# One that was silenced meanwhile stays so.
_FAILED = """
update alert_message set next_try_at = now() + make_interval(secs => $2), last_error = $3
 where id = $1 and next_try_at is not null
"""


async def mark_failed(
    connection: asyncpg.Connection, message: Message, error: str, pause: float
) -> None:
    """Have it tried again in `pause` seconds."""
    await connection.execute(_FAILED, message.id, pause, error)


# ---- reading along ---------------------------------------------------------------------------


_LAST = """
select id from alert_message where at < now() - make_interval(secs => $1) order by id desc limit 1
"""


async def last_message_id(db: asyncpg.Pool, age: float) -> int:
    """The id of the newest message that is older than `age` seconds; 0 when there is none."""
    return await db.fetchval(_LAST, age) or 0


async def messages_after(db: asyncpg.Pool, message_id: int) -> list[Message]:
    """The next messages, in the order in which they came to be."""
    rows = await db.fetch(
        f"select {_COLUMNS} from alert_message where id > $1 order by id limit {MOST_AT_ONCE}",
        message_id,
    )
    return _messages(rows)


class AlertMessage(msgspec.Struct):
    """The document that Redis and the webhook get; `alert` is one of `records.Alert`."""

    message_id: int
    type: str
    at: datetime
    alert: Raw


_encode = msgspec.json.Encoder().encode


def _messages(rows: Sequence[Any]) -> list[Message]:
    return [
        Message(
            row["id"],
            _encode(AlertMessage(row["id"], row["type"], row["at"], Raw(row["alert"].encode()))),
            row["tries"],
        )
        for row in rows
    ]
