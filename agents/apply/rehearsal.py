"""Rehearsals: a batch is applied in a process of its own, and nothing of it is kept.

A batch that may have killed a worker kills that process instead. When memory runs out, the kernel
ends it before the worker.
"""

import asyncio
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import active_children, get_context
from pathlib import Path

from execstream.agents.apply.batch_fold import BatchResult, decode_batch, fold_batch
from execstream.agents.apply.ruling import Ruling
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.apply.state_loading import load_states
from execstream.agents.runtime.partition_buffer import Batch
from execstream.config.process_lifetime import begin_in_pool
from execstream.config.settings import Settings
from execstream.storage.commit.write_set import commit
from execstream.storage.connections import Session
from execstream.storage.schema.day_partitions import Days

PATIENCE = 60.0  # seconds
CACHE_BYTES = 32 * 1024 * 1024


class Rehearsal:
    """Keeps the process between rehearsals, until one kills it."""

    def __init__(self, settings: Settings, consumer: str) -> None:
        self._settings = settings
        self._consumer = consumer
        self._pool: ProcessPoolExecutor | None = None

    async def rehearse(self, batch: Batch, ruling: Ruling) -> str | None:
        """Apply `batch` and roll it back; return the reason why the process ended, or None."""
        if self._pool is None:
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, _begin, (os.getpid(),))
        work = asyncio.get_running_loop().run_in_executor(
            self._pool, _rehearse_in_process, self._settings, self._consumer, batch, ruling
        )
        try:
            await asyncio.wait_for(work, PATIENCE)
        except BrokenProcessPool:
            self.close()
            return "It ends the process that applies it, as lack of memory does."
        except TimeoutError:
            self.close()
            return f"Applying it takes more than {PATIENCE:g} s."
        return None

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            for process in active_children():
                process.kill()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _begin(parent: int) -> None:
    begin_in_pool(parent)
    with suppress(OSError):  # there is no such file elsewhere than on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def _rehearse_in_process(settings: Settings, consumer: str, batch: Batch, ruling: Ruling) -> None:
    with suppress(Exception):  # the worker, which applies it next, meets the same error
        asyncio.run(_rehearse(settings, consumer, batch, ruling))


async def _rehearse(settings: Settings, consumer: str, batch: Batch, ruling: Ruling) -> None:
    session = Session(settings.postgres, settings.schema_)
    try:
        connection = await session.get()
        cache = RunCache(CACHE_BYTES)
        folded = BatchResult(batch, 1, cache.generation)
        decoded = decode_batch(batch, settings.max_command_bytes, ruling.judged)
        await load_states(session, cache, decoded, folded.number)
        fold_batch(folded, decoded, cache)
        topic = batch[0].owned.tp.topic
        await Days().ensure(connection, folded.write_set.begun)
        transaction = connection.transaction()
        await transaction.start()
        await commit(connection, consumer, topic, folded.offset_commits, folded.write_set)
        await connection.execute("set constraints all immediate")
        await transaction.rollback()
    finally:
        await session.close()
