"""Faults of one run or of everything, planted in the tables of a test."""

import asyncpg

# An error of no class that a worker expects, so nothing of the batch is judged by it.
_FAIL = """
create or replace function fail() returns trigger language plpgsql as $$
begin
    if {condition} then
        {action};
    end if;
    return new;
end $$;
create or replace trigger fail before insert on journal for each row execute function fail()
"""
_RAISE = "raise exception 'planted'"
_WAIT = "perform pg_sleep(60)"


async def break_run(db: asyncpg.Pool, run_id: str, *, waits: bool = False) -> None:
    """Have entries of that run raise an error, or take a minute, from now on."""
    condition = f"new.graph_exec_id = '{run_id}'"
    await db.execute(_FAIL.format(condition=condition, action=_WAIT if waits else _RAISE))


async def break_all(db: asyncpg.Pool) -> None:
    """Have entries of any run raise a transient error from now on."""
    action = f"{_RAISE} using errcode = '53100'"
    await db.execute(_FAIL.format(condition="true", action=action))


async def mend(db: asyncpg.Pool) -> None:
    """Take the fault away."""
    await db.execute("drop trigger fail on journal")
