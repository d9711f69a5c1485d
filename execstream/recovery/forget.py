"""Forgetting a person: their runs by commands, everything else by deleting it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from execstream.client import ExecutionClient
from storage.personal import count_personal, delete_personal, runs_to_erase
from streams.outcomes import Applied, Duplicate
from streams.topics import COMMANDS, DEAD_LETTERS, EVENTS

AT_ONCE = 100  # commands that are waited for together


class Receipt(NamedTuple):
    """What became of it.

    Attributes:
        erased: runs that lost inputs, outputs, steps and journal now.
        not_erased: runs that refused to be deleted, with the reason.
        rows_left: runs of which the row is kept, deleted and empty, so that a command that comes
            late does not bring them back.
        deleted: other rows, by kind.
        topics_until: when the records that Kafka has now will have gone, by topic.
    """

    erased: int
    not_erased: dict[str, str]
    rows_left: int
    deleted: dict[str, int]
    topics_until: dict[str, datetime]


async def forget(
    db: asyncpg.Pool,
    client: ExecutionClient,
    user_id: str,
    told: Callable[[str, int, int], None],
) -> Receipt:
    """Erase everything about `user_id`; may be repeated. Who goes on sending commands about them
    brings new rows about."""
    run_ids = await runs_to_erase(db, user_id)
    not_erased: dict[str, str] = {}
    done = 0
    for some in _portions(run_ids):
        reasons = await asyncio.gather(*(_erase(client, user_id, run_id) for run_id in some))
        not_erased |= {run: why for run, why in zip(some, reasons, strict=True) if why}
        done += len(some)
        told("Runs", done, len(run_ids))
    deleted = await delete_personal(db, user_id)
    now = datetime.now(UTC)
    return Receipt(
        erased=len(run_ids) - len(not_erased),
        not_erased=not_erased,
        rows_left=(await count_personal(db, user_id)).runs,
        deleted=deleted,
        topics_until={
            topic.name: now + timedelta(days=topic.retention_days)
            for topic in (COMMANDS, EVENTS, DEAD_LETTERS)
            if topic.retention_days is not None
        },
    )


async def _erase(client: ExecutionClient, user_id: str, run_id: str) -> str | None:
    """Why the run cannot be deleted; None when it was."""
    command = {"type": "graph.delete", "user_id": user_id, "graph_exec_id": run_id, "hard": True}
    outcome = await client.call(command)
    if isinstance(outcome, Applied | Duplicate):
        return None
    return str(outcome.reason)


def _portions(run_ids: Sequence[str]) -> list[Sequence[str]]:
    return [run_ids[at : at + AT_ONCE] for at in range(0, len(run_ids), AT_ONCE)]
