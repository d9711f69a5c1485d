"""Probe commits: rows like those of any batch are written, and taken back, at the stored offsets.

Between two tries of a suspect record a probe commit distinguishes a fault of the record from an
outage. Rows go to every table that commands are written to, by the code that folds commands,
because an outage may concern one table only.
"""

import json
import os
from contextlib import suppress
from uuid import uuid4

from aiokafka import ConsumerRecord
from faust.types import TP

from execstream.agents.apply.batch_fold import BatchResult, decode_batch, fold_batch
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime.partition_buffer import AssignedPartition, Batch, PartitionBatch
from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.commit.write_set import WriteSet, commit
from execstream.storage.connections import Session
from execstream.streams.events import NOWHERE

PATIENCE = 10_000  # milliseconds that a statement may take
_AT = "2026-01-01T00:00:00Z"


class _TakenBackError(Exception):
    """Ends the transaction of the rows."""


async def probe_commit(session: Session, consumer: str, batch: Batch) -> None:
    """Commit the unchanged positions of the partitions of `batch`.

    Raises the errors of a commit, also when another worker has taken a partition over.
    """
    connection = await session.get()
    topic = batch[0].owned.tp.topic
    async with connection.transaction():
        await connection.execute(f"set local statement_timeout = {PATIENCE}")
        with suppress(_TakenBackError):
            async with connection.transaction():
                await commit(connection, consumer, topic, [], _sample(topic))
                raise _TakenBackError
        await commit(connection, consumer, topic, [_standing(part) for part in batch], WriteSet())


def _standing(part: PartitionBatch) -> OffsetCommit:
    owned = part.owned
    return OffsetCommit(owned.number, part.expected, owned.epoch, part.expected, *owned.published)


def _sample(topic: str) -> WriteSet:
    """Rows of a run without an owner: applied, refused and dead, on a partition that does not
    exist.
    """
    run_id, user_id, step = (str(uuid4()) for _ in range(3))
    node = {"node_id": "probe", "block_id": "probe", "inputs": {"in": 1}, "node_exec_id": step}
    about = {"graph_id": "probe", "graph_version": 1, "inputs": {}, "starting_nodes": [node]}
    commands: list[tuple[str, dict[str, object] | None]] = [
        (run_id, {"type": "graph.create", "graph_exec_id": run_id, **about}),
        (run_id, {"type": "graph.start", "graph_exec_id": run_id}),
        (run_id, {"type": "graph.start", "graph_exec_id": run_id}),  # refused
        (user_id, {"type": "kv.set", "key": "probe", "data": 1, "node_exec_id": step}),
        (user_id, None),
    ]
    owned = AssignedPartition(TP(topic, -os.getpid()), 0, 0, NOWHERE, 0, 0)
    records = [
        _record(owned, offset, key, command and _common(user_id) | command)
        for offset, (key, command) in enumerate(commands)
    ]
    batch = Batch([PartitionBatch(owned, 0, records)])
    cache = RunCache(0)
    folded = BatchResult(batch, 1, cache.generation)
    fold_batch(folded, decode_batch(batch, 2**20, {}), cache)
    return folded.write_set


def _common(user_id: str) -> dict[str, object]:
    return {"id": str(uuid4()), "at": _AT, "user_id": user_id}


def _record(
    owned: AssignedPartition, offset: int, key: str, command: dict[str, object] | None
) -> ConsumerRecord:
    value = None if command is None else json.dumps(command).encode()
    size = len(value or b"")
    return ConsumerRecord(
        *(owned.tp.topic, owned.number, offset, 0, 0, key.encode(), value, 0, len(key), size, ())
    )
