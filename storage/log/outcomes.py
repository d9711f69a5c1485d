"""Look up recorded command outcomes, by id or by topic offset (preferred)."""

from typing import NamedTuple
from uuid import UUID

import asyncpg

from execstream.storage.log.held_records import trace_at, trace_of
from execstream.storage.log.run_states import DAY_OF_RUN
from execstream.storage.querying import parse_id
from execstream.streams.commands import Command, RunCommand
from execstream.streams.outcomes import (
    Applied,
    Dead,
    DeadReason,
    Duplicate,
    Outcome,
    Refusal,
    Refused,
)


class RecordedOffset(NamedTuple):
    """The stored state of an offset; `source`: the offset of its effects, None before a worker has
    reached it.
    """

    source: int | None
    dead: Dead | None


_PLACE = """
select base + $3 from consumer_offset
 where consumer = 'apply' and topic = $1 and partition = $2 and next_offset > $3
"""
_DEAD_LETTER = """
select reason, detail from dead_letter where topic = $1 and partition = $2 and "offset" = $3
"""


async def look_at(db: asyncpg.Pool, topic: str, partition: int, offset: int) -> RecordedOffset:
    """Return the workers' progress at an offset, and the dead letter that was there."""
    source = await db.fetchval(_PLACE, topic, partition, offset)
    if source is None:
        return RecordedOffset(None, None)
    row = await db.fetchrow(_DEAD_LETTER, topic, partition, offset)
    return RecordedOffset(source, row and Dead(DeadReason(row["reason"]), row["detail"]))


_REFUSAL = """
select reason, detail from refusal where source_partition = $1 and source_offset = $2
"""


async def recorded_outcome(
    db: asyncpg.Pool, command: Command, topic: str, partition: int, offset: int
) -> Outcome | None:
    """The outcome of the command at that place, or None while nothing is recorded of it.

    Nothing ever is when its run was erased after it.
    """
    source, dead = await look_at(db, topic, partition, offset)
    if source is None or dead is not None:
        return dead
    if trace := await trace_at(db, topic, partition, offset):
        if trace.released_by is None:
            return trace.outcome
        return await recorded_outcome(db, command, topic, partition, trace.released_by)
    if refused := await db.fetchrow(_REFUSAL, partition, source):
        return _refused(refused)
    if isinstance(command, RunCommand):
        effect = await _effect_on_run(db, UUID(command.graph_exec_id), UUID(command.id))
    else:
        effect = await _effect_on_user(db, command.user_id, UUID(command.id))
    if effect is None:
        return None
    return Duplicate(effect.applied) if effect.source < source else effect.applied


class Recorded(NamedTuple):
    """An outcome, and the user of its command; `command_type`: of refused ones."""

    user_id: str
    outcome: Outcome
    command_type: str = ""


_REFUSAL_OF_RUN = """
select user_id, reason, detail, command_type from refusal
 where graph_exec_id = $1 and command_id = $2
 order by at desc limit 1
"""
_REFUSAL_OF_KEY_VALUE = """
select user_id, reason, detail, command_type from refusal
 where graph_exec_id is null and user_id = $1 and command_id = $2
 order by at desc limit 1
"""


async def find_outcome(db: asyncpg.Pool, key: str, command_id: str) -> Recorded | None:
    """The outcome of the command `command_id` of a run, or of a user's key-values.

    None when nothing is recorded of it (yet). A command that was refused, sent again and applied
    is an applied one.
    """
    run_id, wanted = parse_id(key), parse_id(command_id)
    effect = run_id and await _effect_on_run(db, run_id, wanted)
    if effect := effect or await _effect_on_user(db, key, wanted):
        return Recorded(effect.user_id, effect.applied)
    row = await db.fetchrow(_REFUSAL_OF_KEY_VALUE, key, wanted)
    if row is None and run_id is not None:
        row = await db.fetchrow(_REFUSAL_OF_RUN, run_id, wanted)
    if row is None and (trace := await trace_of(db, key, wanted)):
        return Recorded(trace.user_id or "", trace.outcome)
    return row and Recorded(row["user_id"], _refused(row), row["command_type"])


class _Effect(NamedTuple):
    user_id: str
    applied: Applied
    source: int  # offset of the command that had it first


# The first of a command's entries are its effect; a run's journal is short enough to look through.
_ENTRIES = f"""
select min(entry.seq) as first, max(entry.seq) as last, count(*) as entries, run.user_id,
       min(entry.source_offset) as source,
       (array_agg(entry.node_exec_id order by entry.seq))[1]::text as node_exec_id,
       (array_agg(entry.detail -> 'skipped' order by entry.seq))[1] as skipped
  from graph_execution run
  join journal entry on entry.graph_exec_id = run.id
   and entry.run_day = {DAY_OF_RUN.format("$1")}
 where run.id = $1 and entry.command_id = $2
 group by run.user_id
"""


async def _effect_on_run(db: asyncpg.Pool, run_id: UUID, command_id: UUID | None) -> _Effect | None:
    row = await db.fetchrow(_ENTRIES, run_id, command_id)
    if row is None:
        return None
    if row["skipped"] is None:
        applied = Applied(row["first"], row["last"], row["node_exec_id"])
    else:
        applied = Applied(row["first"], row["last"], None, row["entries"], row["skipped"])
    return _Effect(row["user_id"], applied, row["source"])


_KEY_VALUE = "select source_offset from kv_journal where user_id = $1 and command_id = $2"


async def _effect_on_user(
    db: asyncpg.Pool, user_id: str, command_id: UUID | None
) -> _Effect | None:
    source = await db.fetchval(_KEY_VALUE, user_id, command_id)
    return None if source is None else _Effect(user_id, Applied(), source)


def _refused(row: asyncpg.Record) -> Refused:
    return Refused(Refusal(row["reason"]), row["detail"])
