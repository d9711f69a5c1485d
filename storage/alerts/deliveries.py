"""The log of the webhook: messages about alerts and ends of runs, with the tries of each."""

from datetime import datetime
from enum import StrEnum

import asyncpg
from pydantic import BaseModel

from execstream.storage.alerts.outbox import MOST_TRIED
from execstream.storage.alerts.run_ends import TYPE
from execstream.storage.querying import at_least_one
from execstream.storage.schema.tables import MESSAGES
from execstream.storage.unreadable_rows import readable, reading_row

MOST = 1_000  # characters of a text; a stored one has any length


class DeliveryState(StrEnum):
    """`withdrawn`: its alert was silenced before it arrived; `given_up`: not taken for 24 hours."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    WITHDRAWN = "withdrawn"
    GIVEN_UP = "given_up"


class Delivery(BaseModel):
    """A message to the webhook. `about`: the title of the alert, or the status that the run ended
    in; `last_error`: of the last try, null when it was taken.
    """

    message_id: str
    type: str
    about: str
    graph_exec_id: str | None
    state: DeliveryState
    at: datetime
    tries: int
    next_try_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None


_LISTED = f"""
select *, case when delivered_at is not null then 'delivered'
               when next_try_at is null then 'withdrawn'
               when at < now() - make_interval(hours => {MOST_TRIED}) then 'given_up'
               else 'waiting' end as state
  from (
    (select id::text as message_id, left(type, {MOST}) as type,
            left(coalesce(alert ->> 'title', ''), {MOST}) as about,
            left(alert ->> 'graph_exec_id', 36) as graph_exec_id, at, tries, next_try_at,
            delivered_at, left(last_error, {MOST}) as last_error
       from alert_message where tries > 0 or next_try_at is not null
      order by id desc limit $1)
    union all
    (select graph_exec_id || '/' || seq, '{TYPE}', left(status, {MOST}), graph_exec_id::text, at,
            tries, next_try_at, delivered_at, left(last_error, {MOST})
       from run_message order by at desc limit $1)
  ) as sent
 order by at desc, message_id limit $1
"""


async def list_deliveries(db: asyncpg.Pool, limit: int = 25) -> list[Delivery]:
    """The newest messages that the webhook got or is to get. ValueError unless `limit` is at least
    1.
    """
    at_least_one(limit=limit)
    return readable(await db.fetch(_LISTED, limit), _delivery)


def _delivery(row: asyncpg.Record) -> Delivery:
    with reading_row(MESSAGES.name):
        return Delivery(**row)
