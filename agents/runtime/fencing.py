"""The fence of Postgres: batches of partitions that another worker has claimed are given up."""

from collections.abc import Awaitable, Callable

import asyncpg

from execstream.agents.runtime.partition_buffer import Batch, PartitionBuffer
from execstream.agents.runtime.retries import retrying
from execstream.storage.commit.consumer_offsets import FENCED
from execstream.storage.connections import Session, sqlstate


async def retry_while_owned(
    what: str,
    attempt: Callable[[], Awaitable[None]],
    buffer: PartitionBuffer,
    batch: Batch,
    session: Session,
) -> bool:
    """Repeat `attempt`, which uses `session`, until it succeeds; return false once `batch` is not
    ours any more."""

    async def attempt_if_owned() -> None:
        if buffer.owns(batch):
            await attempt()

    try:
        await retrying(what, attempt_if_owned, session)
    except asyncpg.PostgresError as error:
        if sqlstate(error) != FENCED:
            raise
        session.terminate()  # it knows types of the schema that was
        buffer.release(batch)
    return buffer.owns(batch)
