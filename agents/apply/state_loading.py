"""Loading of the states that a batch needs, and classification of Postgres' errors."""

import asyncpg

# Hidden behind the server's error of the same name: a value that asyncpg cannot even encode.
from asyncpg.exceptions._base import DataError as ClientDataError

from execstream.agents.apply.batch_fold import Decoded
from execstream.agents.apply.state_cache import RunCache
from execstream.storage.commit.consumer_offsets import CREATED_ELSEWHERE, FENCED
from execstream.storage.connections import Session, sqlstate
from execstream.storage.log.run_states import load_key_values, load_runs
from execstream.storage.unreadable_rows import UnreadableRun, note
from execstream.streams.commands import RunCommand, SetKeyValue
from execstream.streams.outcomes import Dead, DeadReason

# Possible answers to a commit, beside errors that waiting cures.
REFUSALS = (asyncpg.PostgresError, ClientDataError)

_DATA = "22"  # the class of values that asyncpg cannot even encode
_DATA_ERRORS = (_DATA, "23", "54")  # classes of SQLSTATE
# A run came into being elsewhere, or an entry or key-value that the states did not know of.
_STALE_STATES = (CREATED_ELSEWHERE, "23505")


def is_stale(error: Exception) -> bool:
    """Return whether the states that a batch was folded on were not the newest."""
    return sqlstate(error) in _STALE_STATES


def is_unstorable(error: Exception) -> bool:
    """Return whether Postgres refuses a value in the batch, and will refuse it again."""
    return not is_stale(error) and (sqlstate(error) or _DATA)[:2] in _DATA_ERRORS


def not_storable(error: Exception) -> Dead:
    """Return the dead letter of a record that Postgres refuses with `error`."""
    state = sqlstate(error)
    suffix = f" (SQLSTATE {state})" if state else ""
    message = f"Postgres does not take a value of this command{suffix}"
    return Dead(DeadReason.NOT_STORABLE, {"sqlstate": state, "message": message})


def is_answer(error: Exception) -> bool:
    """Return whether Postgres judges the batch, rather than fails."""
    if not isinstance(error, REFUSALS):
        return False
    return sqlstate(error) == FENCED or is_stale(error) or is_unstorable(error)


def _note_and_raise(error: UnreadableRun) -> None:
    note(error)
    raise error


async def load_states(session: Session, cache: RunCache, decoded: Decoded, number: int) -> None:
    """Load the states that batch `number` needs and the cache does not hold; nothing when the cache
    was dropped meanwhile. Raises UnreadableRun, which is noted.
    """
    commands = [command for part in decoded for command in part]
    run_ids = {c.graph_exec_id for c in commands if isinstance(c, RunCommand)}
    key_values = [c for c in commands if isinstance(c, SetKeyValue)]
    generation = cache.generation
    if missing := cache.hold(run_ids, number):
        connection = await session.get()
        loaded = await load_runs(connection, missing, unreadable=_note_and_raise, with_stats=True)
        if generation == cache.generation:
            for run in loaded.values():
                cache.put(run, number)
    if key_values:
        await load_key_values(
            await session.get(),
            cache.key_values,
            [(c.user_id, c.name) for c in key_values],
            [(c.user_id, c.id) for c in key_values],
        )
