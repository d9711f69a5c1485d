"""Forgetting a person: their runs by commands, everything else by deleting it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg
import msgspec
from aiokafka.errors import KafkaError

from execstream.client.ids import uuid7
from execstream.kafka.producer import Producer
from execstream.recovery.forget.personal_data import (
    count_held,
    count_personal,
    delete_personal,
    runs_to_erase,
)
from execstream.recovery.redrive import comes
from execstream.storage.log.outcomes import recorded_outcome
from execstream.streams.commands import DeleteGraph
from execstream.streams.errors import Fatal
from execstream.streams.outcomes import Applied, Duplicate
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import COMMANDS, DEAD_LETTERS, EVENTS

AT_ONCE = 100  # commands that are waited for together
PATIENCE = 30.0  # seconds for Kafka to take them
_UNHEARD = "nothing was heard of it: do the workers run?"
_NOT_TAKEN = "Kafka did not take the command"
_NOT_TRIED = "not tried"


class InQuarantine(Fatal):
    """Records about a person wait in quarantine."""


class Receipt(NamedTuple):
    """The result of forgetting a user.

    Attributes:
        erased: runs that lost inputs, outputs, steps and journal now.
        not_erased: runs that were not deleted, as far as is known, with the reason.
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
    producer: Producer,
    topic: str,
    user_id: str,
    report_progress: ProgressCallback,
) -> Receipt:
    """Erase everything about `user_id`, by commands on `topic`; may be repeated. A producer that
    keeps sending commands about them creates new rows. The receipt lists runs that are left because
    Kafka or the workers do not answer. Raises InQuarantine.
    """
    if held := await count_held(db, user_id):
        raise InQuarantine(
            f"Records about {user_id} wait in quarantine ({held:,}): release them first, with "
            "`execstream quarantine skip`."
        )
    runs = await runs_to_erase(db, user_id)
    not_erased = {run_id: _NOT_TRIED for run_id, _ in runs}
    for some in _chunks(runs):
        reasons = await asyncio.gather(
            *(_erase(db, producer, topic, user_id, run_id, number) for run_id, number in some)
        )
        for (run_id, _), why in zip(some, reasons, strict=True):
            if why is None:
                del not_erased[run_id]
            else:
                not_erased[run_id] = why
        report_progress("Runs", len(runs) - len(not_erased), len(runs))
        if not {_UNHEARD, _NOT_TAKEN}.isdisjoint(reasons):
            break
    deleted = await delete_personal(db, user_id)
    now = datetime.now(UTC)
    return Receipt(
        erased=len(runs) - len(not_erased),
        not_erased=not_erased,
        rows_left=(await count_personal(db, user_id)).runs,
        deleted=deleted,
        topics_until={
            topic.name: now + timedelta(days=topic.retention_days)
            for topic in (COMMANDS, EVENTS, DEAD_LETTERS)
            if topic.retention_days is not None
        },
    )


async def _erase(
    db: asyncpg.Pool, producer: Producer, topic: str, user_id: str, run_id: str, partition: int
) -> str | None:
    """Return why the run was not deleted; None when it was. `partition`: that of its commands,
    which its producer may have chosen in a way of its own.
    """
    command = DeleteGraph(
        id=uuid7(),
        at=datetime.now(UTC).isoformat(),
        user_id=user_id,
        graph_exec_id=run_id,
        hard=True,
    )
    value = msgspec.json.encode(command)
    try:
        async with asyncio.timeout(PATIENCE):
            place = await producer.send(command.key.encode(), value, (), partition)
    except (KafkaError, TimeoutError):
        return _NOT_TAKEN
    if not await comes(db, topic, place):
        return _UNHEARD
    outcome = await recorded_outcome(db, command, topic, *place)
    if outcome is None or isinstance(outcome, Applied | Duplicate):
        return None
    return str(outcome.reason)


def _chunks(runs: Sequence[tuple[str, int]]) -> list[Sequence[tuple[str, int]]]:
    return [runs[at : at + AT_ONCE] for at in range(0, len(runs), AT_ONCE)]
