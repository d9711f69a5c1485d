"""The audit: each act of an operator or a token, with its author, origin, subject and outcome.

Reads are not in it, except exports. Texts are cut, and retention deletes old rows.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

import asyncpg
from pydantic import BaseModel

from execstream.storage.querying import Where
from execstream.storage.reads.read_errors import InvalidCursor

FORGOTTEN = "forgotten"


class Author(NamedTuple):
    """The author of an act: the name of a token or an operator, the user of the token, and the
    address or machine of the request."""

    name: str
    user_id: str | None
    origin: str


class Act(NamedTuple):
    """An act such as `alert.silence`, the run or other thing it was about, and its outcome."""

    act: str
    subject: str
    outcome: str


class AuditEntry(BaseModel):
    """A row of the audit."""

    id: int
    at: datetime
    actor: str
    user_id: str | None
    origin: str
    act: str
    subject: str
    outcome: str


# U+0000 is in no text of Postgres.
_RECORD = """
insert into audit (actor, user_id, origin, act, subject, outcome)
values (left($1, 128), $2, left($3, 200), left($4, 64), left($5, 300), left($6, 200))
"""


async def record_acts(
    db: asyncpg.Pool | asyncpg.Connection, author: Author, acts: Sequence[Act]
) -> None:
    """Add acts that are done to the audit."""
    rows = [[_storable(text) for text in (*author, *act)] for act in acts]
    await db.executemany(_RECORD, rows)


def _storable(text: str | None) -> str | None:
    return text and text.replace("\0", "")


async def list_audit(
    db: asyncpg.Pool,
    *,
    actor: str | None = None,
    act: str | None = None,
    subject: str | None = None,
    cursor: str | None = None,
    limit: int = 25,
) -> tuple[list[AuditEntry], str | None]:
    """A page of the audit, newest first, and the cursor of the next one."""
    where = Where()
    where.add("actor = {}", actor)
    where.add("act = {}", act)
    where.add("subject = {}", subject)
    where.add("id < {}", None if cursor is None else _place(cursor))
    rows = await db.fetch(
        f"select * from audit where {where} order by id desc limit {where.arg(limit + 1)}",
        *where.args,
    )
    page = [AuditEntry(**row) for row in rows[:limit]]
    if len(rows) <= limit:
        return page, None
    return page, urlsafe_b64encode(str(page[-1].id).encode()).decode()


def _place(cursor: str) -> int:
    try:
        place = int(urlsafe_b64decode(cursor))
    except ValueError as error:
        raise InvalidCursor(cursor) from error
    if not 0 <= place < 2**63:
        raise InvalidCursor(cursor)
    return place


async def trim_audit(db: asyncpg.Pool | asyncpg.Connection, before: date) -> int:
    """Delete the acts of the days before `before`, in UTC; return their number."""
    done = await db.execute(
        "delete from audit where at < $1::date::timestamp at time zone 'UTC'", before
    )
    return int(done.split()[-1])


_BLANK = f"""
update audit
   set user_id = null,
       actor = case when user_id = $1 or actor = $1 then '{FORGOTTEN}' else actor end,
       origin = case when user_id = $1 or actor = $1 then '{FORGOTTEN}' else origin end,
       subject = '{FORGOTTEN}'
 where user_id = $1 or actor = $1 or subject = $1
    or subject in (select id::text from graph_execution where user_id = $1)
"""


async def blank_user(db: asyncpg.Pool | asyncpg.Connection, user_id: str) -> int:
    """Take a user and the ids of the user's runs out of the audit; return the number of rows."""
    return int((await db.execute(_BLANK, user_id)).split()[-1])
