"""Rows that a rebuild has of forgotten people: the log still has them, the live schema does not,
and it must stay so.

The live schema keeps no list of them. A user counts as forgotten if it lacks some of their rows and
has none: no key-value, refusal or cost, and no run that is not deleted.
"""

import asyncpg
import msgspec

from execstream.storage.connections import NO_TIMEOUT, quoted
from execstream.streams.errors import NOT_READABLE


class _Signed(msgspec.Struct):
    user_id: str = ""


# Rows of records that became dead letters there are missing for another reason.
_LACKING = """
with missing as (
    select user_id, source_partition, source_offset from kv_journal n
     where not exists (select from {live}.kv_journal l
                        where l.source_partition = n.source_partition
                          and l.source_offset = n.source_offset)
    union all
    select user_id, source_partition, source_offset from refusal n
     where not exists (select from {live}.refusal l
                        where l.source_partition = n.source_partition
                          and l.source_offset = n.source_offset)
)
select distinct user_id from missing m
 where not exists (
    select from {live}.dead_letter d
      join consumer_offset c on c.consumer = 'apply' and c.topic = d.topic
       and c.partition = d.partition
     where d.topic = $1 and d.partition = m.source_partition
       and d."offset" = m.source_offset - c.base)
union
select user_id from user_day n
 where not exists (select from {live}.user_day l where l.user_id = n.user_id)
"""
_MISSING_LETTERS = """
select id, key, value from dead_letter n
 where not exists (select from {live}.dead_letter l where l.id = n.id)
"""
_OWNERS = """
select distinct user_id from graph_execution
 where is_deleted and (id::text = any($1::text[]) or user_id = any($1::text[]))
"""
_FORGOTTEN = """
select x.id from unnest($1::text[]) as x(id)
 where not exists (select from {live}.kv_journal k where k.user_id = x.id)
   and not exists (select from {live}.refusal r where r.user_id = x.id)
   and not exists (select from {live}.user_day d where d.user_id = x.id)
   and not exists (select from {live}.graph_execution g where g.user_id = x.id and not g.is_deleted)
"""
_DELETE = (
    "delete from kv_journal where user_id = any($1::text[])",
    "delete from kv_data where user_id = any($1::text[])",
    "delete from refusal where user_id = any($1::text[])",
    "delete from user_day where user_id = any($1::text[])",
)
_DELETE_LETTERS = """
delete from dead_letter l using unnest($1::text[]) as x(id)
 where not exists (select from {live}.dead_letter k where k.id = l.id)
   and (l.key = convert_to(x.id, 'UTF8')
        or position(convert_to(to_json(x.id)::text, 'UTF8') in l.value) > 0
        or l.key in (select convert_to(g.id::text, 'UTF8') from graph_execution g
                      where g.user_id = x.id))
"""


async def delete_forgotten(connection: asyncpg.Connection, live: str, topic: str) -> int:
    """Delete the rows of the rebuild, the connection's schema, about people whom `live` has
    forgotten, except for the rows of their runs; return the number of people. `topic` is that of
    the commands.
    """
    name = quoted(live)
    async with connection.transaction():
        rows = await connection.fetch(_LACKING.format(live=name), topic, timeout=NO_TIMEOUT)
        lacking = {row[0] for row in rows} | await _in_letters(connection, name)
        rows = await connection.fetch(
            _FORGOTTEN.format(live=name), list(lacking), timeout=NO_TIMEOUT
        )
        forgotten = [row[0] for row in rows]
        if forgotten:
            for statement in (*_DELETE, _DELETE_LETTERS.format(live=name)):
                await connection.execute(statement, forgotten, timeout=NO_TIMEOUT)
    return len(forgotten)


async def _in_letters(connection: asyncpg.Connection, live: str) -> set[str]:
    """Owners of deleted runs in dead letters, by key or signature, that `live` lacks."""
    names: set[str] = set()
    async for row in connection.cursor(_MISSING_LETTERS.format(live=live)):
        names |= {(row["key"] or b"").decode(errors="replace"), _signer(row["value"] or b"")}
    owners = await connection.fetch(_OWNERS, [one for one in names if "\0" not in one])
    return {row[0] for row in owners}


def _signer(value: bytes) -> str:
    try:
        return msgspec.json.decode(value, type=_Signed).user_id
    except NOT_READABLE:
        return ""
