"""Rows about one person beside their runs: counting and deleting them.

Runs are erased by commands, so that a replay of the topics erases them too.
"""

from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from execstream.storage.access.audit_log import blank_user
from execstream.streams.errors import NOT_READABLE


class Personal(NamedTuple):
    """Rows about one person. `erased`: runs of which only the row is left."""

    runs: int
    erased: int
    key_values: int
    refusals: int
    dead_letters: int
    user_days: int


_RUNS = "select id from graph_execution where user_id = $1"
_ERASED = """
select count(*) from graph_execution g
 where user_id = $1 and is_deleted and inputs is null
   and not exists (select from journal j where j.graph_exec_id = g.id and j.seq < g.last_seq)
"""
# Letters about them or a run of theirs by key, or with their id in the value, perhaps with escapes.
_DEAD_LETTERS = f"""
with letter as (
    select id, value,
           key is not null and (key = convert_to($1, 'UTF8') or key in (
               select convert_to(id::text, 'UTF8') from ({_RUNS}) own)) as is_keyed
      from dead_letter)
select * from letter
 where is_keyed or position(convert_to($1, 'UTF8') in value) > 0
    or position('\\x5c75'::bytea in value) > 0
"""
# A deletion of a run that waits there is not applied before the records ahead of it are released.
_HELD = f"""
select count(*) from quarantine
 where released_at is null and (user_id = $1 or key = convert_to($1, 'UTF8')
        or key in (select convert_to(id::text, 'UTF8') from ({_RUNS}) own))
"""
# The position stays, which a replay steps over.
_RELEASED = """
update quarantine
   set user_id = null, headers = '[]', detail = '{}', command_id = null,
       key = case when key = convert_to($1, 'UTF8') then null else key end
 where released_at is not null and (user_id = $1 or key = convert_to($1, 'UTF8'))
"""
_TOKENS = "delete from token where user_id = $1"
# With their messages. Those of blocks and of graphs are about all users.
_ALERTS = f"""
delete from alert where graph_exec_id in ({_RUNS}) or figures ->> 'user_id' = $1
"""
_ENDS = "delete from run_message where user_id = $1"
_LETTERS_AT_A_TIME = 20
_DELETIONS = {
    "key_values": ("from kv_journal where user_id = $1", "from kv_data where user_id = $1"),
    "refusals": ("from refusal where user_id = $1",),
    "user_days": (
        "from user_day where user_id = $1",
        "from spending where per = 'user_day' and subject = $1",
    ),
}


async def count_personal(db: asyncpg.Pool, user_id: str) -> Personal:
    """Count the rows."""
    counts = {
        name: await db.fetchval(f"select count(*) {places[0]}", user_id)
        for name, places in _DELETIONS.items()
    }
    runs = await db.fetchval(f"select count(*) from ({_RUNS}) own", user_id)
    async with db.acquire() as connection, connection.transaction():
        counts["dead_letters"] = len(await _dead_letters(connection, user_id))
    return Personal(runs=runs, erased=await db.fetchval(_ERASED, user_id), **counts)


async def count_held(db: asyncpg.Pool, user_id: str) -> int:
    """Count the records about them that wait in quarantine."""
    return int(await db.fetchval(_HELD, user_id))


async def runs_to_erase(db: asyncpg.Pool, user_id: str) -> list[tuple[str, int]]:
    """Ids and partitions of their runs that are not deleted, and of those deleted ones that were
    kept."""
    rows = await db.fetch(
        """select id, source_partition from graph_execution g
            where user_id = $1 and (not is_deleted or exists (
                select from journal j where j.graph_exec_id = g.id and j.seq < g.last_seq))""",
        user_id,
    )
    return [(str(row["id"]), row["source_partition"]) for row in rows]


async def delete_personal(db: asyncpg.Pool, user_id: str) -> dict[str, int]:
    """Delete all rows about them except those of runs; return the numbers, by kind."""
    deleted = {}
    async with db.acquire() as connection, connection.transaction():
        for name, places in _DELETIONS.items():
            results = [await connection.execute(f"delete {place}", user_id) for place in places]
            deleted[name] = int(results[0].split()[-1])
        await connection.execute(_RELEASED, user_id)
        for statement in (_TOKENS, _ALERTS, _ENDS):
            await connection.execute(statement, user_id)
        await blank_user(connection, user_id)
        letters = await _dead_letters(connection, user_id)
        await connection.execute("delete from dead_letter where id = any ($1)", letters)
        deleted["dead_letters"] = len(letters)
    return deleted


class _Signed(msgspec.Struct):
    user_id: str


async def _dead_letters(connection: asyncpg.Connection, user_id: str) -> list[UUID]:
    """Ids of letters about them: by key, by signer, or, where neither can be read, by their id
    being somewhere in the value.
    """
    letters = connection.cursor(_DEAD_LETTERS, user_id, prefetch=_LETTERS_AT_A_TIME)
    return [
        row["id"]
        async for row in letters
        if row["is_keyed"] or _is_about(row["value"] or b"", user_id)
    ]


def _is_about(value: bytes, user_id: str) -> bool:
    try:
        return msgspec.json.decode(value, type=_Signed).user_id == user_id
    except NOT_READABLE:
        return msgspec.json.encode(user_id) in value
