"""Schedules of the real code: `python -m tests.model.schedules [SEED] [SCHEDULES]`.

What a schedule with faults leaves must be what one without leaves: rows, outcomes and events.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from structlog.testing import capture_logs

from execstream.agents.apply import pipeline, state_loading, suspects
from execstream.agents.apply.batch_fold import fold_batch
from execstream.agents.runtime import partition_buffer, tasks
from execstream.agents.runtime.partition_buffer import Batch
from execstream.storage.commit.write_set import WriteSet
from execstream.streams.state import Run
from tests.model.actors import Line, acting
from tests.model.simulation import FAULTS, Clock, Failed, World


async def _commit(line: Line, consumer: str, topic: str, moves: Any, rows: WriteSet) -> bool:
    process = line.process
    process.sent |= {move.partition: (move.expected, move.epoch) for move in moves}
    await line.turn()
    return process.world.committed(process, moves, rows)


async def _probe(_: Any, consumer: str, batch: Batch) -> None:
    process = acting.get()
    await process.turn()
    for part in batch:
        process.world.memory.probe(part.owned.number, part.expected, part.owned.epoch)


async def _load_runs(line: Line, wanted: Sequence[str], **_: Any) -> dict[str, Run]:
    await line.turn()
    return line.process.world.memory.runs(wanted)


def _fold(folded: Any, *arguments: Any) -> None:
    fold_batch(folded, *arguments)
    process = acting.get()
    for part in folded.batch:
        process.world.folded(process, part)


async def _commit_owned(
    self: pipeline.Applier, folded: Any, session: Any, *, is_refolded: bool
) -> bool:
    is_done = await commit_owned(self, folded, session, is_refolded=is_refolded)
    if not is_done:
        process = acting.get()
        for part in folded.batch:
            process.world.left(process, part)
    return is_done


async def _begin(*_: Any) -> bool:
    return False  # nobody died of a batch


def _crash_on_error(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        acting.get().world.ended(acting.get(), error)


def _crash(reason: str, **context: Any) -> None:
    raise Failed(f"{reason} {context}")


commit_owned = pipeline.Applier._commit
PATCHES: tuple[tuple[Any, str, Any], ...] = (
    (pipeline, "commit", _commit),
    (pipeline, "fold_batch", _fold),
    (pipeline.Applier, "_commit", _commit_owned),
    (suspects.Suspects, "begin", _begin),
    (suspects, "probe_commit", _probe),
    (state_loading, "load_runs", _load_runs),
    (tasks, "_crash_on_error", _crash_on_error),
    (partition_buffer, "crash", _crash),
)


def lived(seed: int, faults: int = FAULTS, off: str | None = None, *, partitions: int = 1) -> World:
    """The world after a schedule; raises Failed or NotEnabled."""
    with ExitStack() as stack:
        stack.enter_context(capture_logs())
        for owner, name, value in PATCHES:
            stack.enter_context(patch.object(owner, name, value))
        world = World(seed, faults, off, partitions)
        with asyncio.Runner(loop_factory=Clock) as runner:
            runner.run(world.run())
    return world


def simulate(seed: int, off: str | None = None, *, partitions: int = 1) -> World:
    """A schedule with faults; Failed when it leaves anything else than one without."""
    world = lived(seed, off=off, partitions=partitions)
    calm = lived(seed, faults=0, partitions=partitions)
    if (world.memory.facts(), world.readers()) != (calm.memory.facts(), calm.topics):
        raise Failed("the rows or events are not those of a run without faults")
    return world


def main(first: int = 0, schedules: int = 100_000) -> None:
    """Print progress; end at the first schedule that fails."""
    for seed in range(first, first + schedules):
        try:
            simulate(seed)
        except Exception:
            print(f"seed {seed} failed")
            raise
        if (seed - first + 1) % 1_000 == 0:
            print(f"{seed - first + 1:,} schedules, up to seed {seed}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
