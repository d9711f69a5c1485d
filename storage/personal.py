"""What is stored about one person beside their runs: counting it, and deleting it.

Runs are erased by commands, so that a replay of the topics erases them too.
"""

from typing import NamedTuple

import asyncpg


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
# What could not be read tells by its key, or by having their id in it.
_DEAD_LETTERS = f"""
 from dead_letter where key = convert_to($1, 'UTF8')
    or position(convert_to(to_json($1::text)::text, 'UTF8') in value) > 0
    or key in (select convert_to(id::text, 'UTF8') from ({_RUNS}) own)
"""
_DELETIONS = {
    "key_values": ("from kv_journal where user_id = $1", "from kv_data where user_id = $1"),
    "refusals": ("from refusal where user_id = $1",),
    "dead_letters": (_DEAD_LETTERS,),
    "user_days": ("from user_day where user_id = $1",),
}


async def count_personal(db: asyncpg.Pool, user_id: str) -> Personal:
    """How much there is."""
    counts = {
        name: await db.fetchval(f"select count(*) {places[0]}", user_id)
        for name, places in _DELETIONS.items()
    }
    runs = await db.fetchval(f"select count(*) from ({_RUNS}) own", user_id)
    return Personal(runs=runs, erased=await db.fetchval(_ERASED, user_id), **counts)


async def runs_to_erase(db: asyncpg.Pool, user_id: str) -> list[str]:
    """Ids of their runs that are not deleted, and of those deleted ones that were kept."""
    rows = await db.fetch(
        f"""{_RUNS} and (not is_deleted or exists (
                select from journal j where j.graph_exec_id = graph_execution.id
                                        and j.seq < graph_execution.last_seq))""",
        user_id,
    )
    return [str(row["id"]) for row in rows]


async def delete_personal(db: asyncpg.Pool, user_id: str) -> dict[str, int]:
    """Delete all rows about them but those of runs; how many, by kind."""
    deleted = {}
    async with db.acquire() as connection, connection.transaction():
        for name, places in _DELETIONS.items():
            results = [await connection.execute(f"delete {place}", user_id) for place in places]
            deleted[name] = int(results[0].split()[-1])
    return deleted
