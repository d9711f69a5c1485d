"""What became of a command, told by its key and id, and better by its place on the topic."""

from typing import Any, NamedTuple

import asyncpg

from storage.reads.querying import parse_id
from streams.outcomes import Applied, Dead, DeadReason, Outcome, Refusal, Refused
from streams.topics import COMMANDS


class Recorded(NamedTuple):
    """An outcome, and whose command it was."""

    user_id: str
    outcome: Outcome


# The first of a command's entries are its effect; a run's journal is short enough to look through.
_ENTRIES = """
select min(entry.seq) as first, max(entry.seq) as last, count(*) as entries, run.user_id,
       (array_agg(entry.node_exec_id order by entry.seq))[1]::text as node_exec_id,
       (array_agg(entry.detail -> 'skipped' order by entry.seq))[1] as skipped
  from graph_execution run
  join journal entry on entry.graph_exec_id = run.id
   and entry.run_day = (run.created_at at time zone 'UTC')::date
 where run.id = $1 and entry.command_id = $2
 group by run.user_id
"""
_KEY_VALUE = "select user_id from kv_journal where user_id = $1 and command_id = $2"
_REFUSAL_OF_RUN = """
select user_id, reason, detail from refusal where graph_exec_id = $1 and command_id = $2
 order by at desc limit 1
"""
_REFUSAL_OF_KEY_VALUE = """
select user_id, reason, detail from refusal
 where graph_exec_id is null and user_id = $1 and command_id = $2
 order by at desc limit 1
"""


async def find_outcome(db: asyncpg.Pool, key: str, command_id: str) -> Recorded | None:
    """The outcome of the command `command_id` of a run, or of a user's key-values.

    None when nothing is recorded of it (yet). A command that was refused, sent again and applied
    is an applied one.
    """
    run_id, wanted = parse_id(key), parse_id(command_id)
    if run_id is not None and (row := await db.fetchrow(_ENTRIES, run_id, wanted)):
        return Recorded(row["user_id"], _applied(row))
    if await db.fetchval(_KEY_VALUE, key, wanted):
        return Recorded(key, Applied())
    row = await db.fetchrow(_REFUSAL_OF_KEY_VALUE, key, wanted)
    if row is None and run_id is not None:
        row = await db.fetchrow(_REFUSAL_OF_RUN, run_id, wanted)
    return row and Recorded(row["user_id"], Refused(Refusal(row["reason"]), row["detail"]))


def _applied(row: asyncpg.Record) -> Applied:
    if row["skipped"] is None:
        return Applied(row["first"], row["last"], row["node_exec_id"])
    return Applied(row["first"], row["last"], None, row["entries"], row["skipped"])


_PLACE = """
select next_offset > $3 as is_reached from consumer_offset
 where consumer = 'apply' and topic = $1 and partition = $2
"""
_DEAD_LETTER = """
select reason, detail from dead_letter where topic = $1 and partition = $2 and "offset" = $3
"""


class AtPlace(NamedTuple):
    """What is known of a place on the commands topic."""

    is_reached: bool
    dead: Dead | None


async def look_at(db: asyncpg.Pool, topic_prefix: str, partition: int, offset: int) -> AtPlace:
    """Whether the workers have come that far, and the dead letter that was there."""
    place: tuple[Any, ...] = (topic_prefix + COMMANDS.name, partition, offset)
    is_reached = bool(await db.fetchval(_PLACE, *place))
    row = await db.fetchrow(_DEAD_LETTER, *place) if is_reached else None
    return AtPlace(is_reached, row and Dead(DeadReason(row["reason"]), row["detail"]))
