"""Faults of Postgres while it runs."""

import asyncio
from contextlib import suppress

import asyncpg

from tests.faults.trial import Trial

END_EVERY = 0.2  # seconds
ENDS = 15  # of sessions, by one fault
LONG_LOCK = 31.0  # seconds; a worker's statement ends after 29
BLOCKED = 0.5  # seconds until a worker waits for a lock; a deadlock is looked for after one
READ_ONLY = 4.0  # seconds
_END_SESSIONS = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
 where datname = current_database() and application_name = $1 and pid <> pg_backend_pid()
"""


async def end_sessions(db: asyncpg.Pool, application: str) -> int:
    """Terminate the backends of an application's sessions; return their number."""
    return int(await db.fetchval(_END_SESSIONS, application))


def application_of(trial: Trial) -> str:
    """Return the name under which the workers of the trial have their sessions."""
    return f"execstream in {trial.installation.settings.schema_}"


async def terminate_backends(trial: Trial) -> None:
    """Postgres ends the sessions of the workers five times a second."""
    for _ in range(ENDS):
        await end_sessions(trial.installation.db, application_of(trial))
        await asyncio.sleep(END_EVERY)


async def lock_out(trial: Trial) -> None:
    """Another session has the journal locked for longer than a statement of a worker may take."""
    async with trial.installation.db.acquire() as other, other.transaction():
        await other.execute("lock table journal in exclusive mode")
        await asyncio.sleep(LONG_LOCK)


async def deadlock(trial: Trial) -> None:
    """Another session wants the rows of the offsets, which the worker has, and has the journal,
    which the worker waits for: Postgres ends the statement of one of them.
    """
    async with trial.installation.db.acquire() as other:
        with suppress(asyncpg.DeadlockDetectedError):
            async with other.transaction():
                await other.execute("lock table journal in exclusive mode")
                await asyncio.sleep(BLOCKED)
                await other.execute("select from consumer_offset for update")


async def make_read_only(trial: Trial) -> None:
    """Postgres takes no writes of new sessions for a while, as a standby would."""
    db = trial.installation.db
    await db.execute("alter role current_user set default_transaction_read_only = on")
    try:
        await end_sessions(db, application_of(trial))
        await asyncio.sleep(READ_ONLY)
    finally:
        async with db.acquire() as own:
            await own.execute("set transaction_read_only = off")
            await own.execute("alter role current_user reset default_transaction_read_only")
        await end_sessions(db, application_of(trial))
