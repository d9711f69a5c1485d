"""Mutants of the source: one guard is left out of a copy of it, and a test on servers must notice.

They are about guards in SQL and between processes, which the simulation has in memory.
`python -m tests.model.source_mutants` runs all mutants, those of the simulation too, and prints
guard and killer.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.console import Console

from execstream import devstack
from execstream.devstack.addresses import DESCRIPTION
from tests.conftest import RUNNING_STACK
from tests.model.mutants import APART, FENCE, MUTANTS, killed_apart_at, killed_at
from tests.rooms import ROOT

PATIENCE = 280  # seconds that a test may take
# Neither sources nor anything that a test reads.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".execstream", "build", "dist", "docs", "examples", "__pycache__", ".*_cache"
)

_COMMIT = "tests/storage/test_commit.py::test_"
_SWAP = "tests/recovery/test_swap.py::test_"
_FENCE_SQL = "storage/schema/migrations/0002_commit.sql"
_CUT_OVER = "recovery/replay/cut_over.py"
_OLD_EPOCH = "update {live}.consumer_offset set epoch = -abs(epoch) - 1;"


class SourceMutant(NamedTuple):
    """A `guard`, left out by writing `new` instead of `old` in `file`; `killer` must then fail."""

    guard: str
    file: str
    old: str
    new: str
    killer: str


SOURCE_MUTANTS = (
    SourceMutant(
        "epoch",
        _FENCE_SQL,
        "c.next_offset = m.expected and c.epoch = m.epoch",
        "c.next_offset = m.expected",
        f"{_COMMIT}claiming_fences_whoever_was_there",
    ),
    SourceMutant(
        "expected offset",
        _FENCE_SQL,
        "c.next_offset = m.expected and c.epoch = m.epoch",
        "c.epoch = m.epoch",
        f"{_COMMIT}a_commit_that_does_not_fit_fails_as_a_whole",
    ),
    SourceMutant(
        "one transaction",
        "storage/commit/write_set.py",
        """    offsets = [offset_commit.row() for offset_commit in offset_commits]
    with""",
        """    moves = [offset_commit.row() for offset_commit in offset_commits]
    if not await connection.fetchval("select advance($1, $2, $3)", consumer, topic, moves):
        return True
    offsets: list[object] = []
    with""",
        f"{_COMMIT}a_run_of_another_partition_fails_the_commit",
    ),
    SourceMutant(
        "claim order",
        "storage/commit/consumer_offsets.py",
        '_CLAIM = "select * from claim($1, $2, $3, $4)"',
        '''_CLAIM = """
select c.*, coalesce(o.next_offset, c.next_offset) as next_offset
  from claim($1, $2, $3, $4) c left join consumer_offset o using (consumer, topic, partition)
"""''',
        f"{_COMMIT}a_claim_begins_behind_the_commit_that_it_waited_for",
    ),
    SourceMutant(
        "republishing",
        "agents/apply/republisher.py",
        "            await self._republish_one(part, after, until)\n",
        "            part.published = max(part.published, after)\n",
        "tests/agents/test_republish.py::test_what_was_never_said_is_said",
    ),
    SourceMutant(
        "acknowledged position",
        "agents/apply/republisher.py",
        "after = max(published[part.number], part.published)",
        "after = part.published",
        "tests/agents/test_republish.py::test_what_was_said_is_not_said_again",
    ),
    SourceMutant(
        "dropping repeats",
        "agents/bridge/forwarder.py",
        "(last is None or event.source > last)",
        "True",
        "tests/agents/test_bridge_to_redis.py::test_what_comes_again_is_not_told_again",
    ),
    SourceMutant(
        "lock of the swap",
        _CUT_OVER,
        " order by consumer, topic, partition for update",
        " order by consumer, topic, partition",
        f"{_SWAP}whatever_waited_for_a_swap_owns_nothing",
    ),
    SourceMutant(
        "catching up",
        "recovery/replay/swap.py",
        "await rebuild.catch_up(at)",
        "pass",
        f"{_SWAP}commands_applied_before_the_lock_are_in_the_new_schema",
    ),
    SourceMutant(
        "epoch of the old schema",
        _CUT_OVER,
        _OLD_EPOCH,
        "",
        f"{_SWAP}whatever_waited_for_a_swap_owns_nothing",
    ),
    SourceMutant(
        "epochs apart",
        _CUT_OVER,
        _OLD_EPOCH,
        "update {live}.consumer_offset set epoch = epoch + 1;",
        f"{_SWAP}whatever_waited_for_a_swap_owns_nothing",
    ),
    SourceMutant(
        "epoch of the new schema",
        _CUT_OVER,
        "set epoch = greatest(n.epoch, l.epoch) + 1,",
        "set epoch = 1,",
        f"{_SWAP}whatever_waited_for_a_swap_owns_nothing",
    ),
    SourceMutant(
        "check of holes",
        "agents/runtime/partition_buffer.py",
        "if earliest[tp] > offset}",
        "if earliest[tp] < 0}",
        "tests/faults/test_positions.py::test_retention_overtakes_a_worker",
    ),
)


@contextmanager
def _copy_with(mutant: SourceMutant | None) -> Iterator[Path]:
    """A copy of the source, with `mutant` in it."""
    with TemporaryDirectory(prefix="execstream-mutant-") as directory:
        copy = Path(directory) / "source"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=_LEFT_OUT)
        for link in ("docs", "examples"):
            (copy / link).symlink_to(ROOT / link)
        # Workers of tests find their program beside `tests`.
        (copy / "execstream").symlink_to("src/execstream")
        if mutant is not None:
            path = copy / mutant.file
            text = path.read_text(encoding="utf-8")
            assert text.count(mutant.old) == 1, f"{mutant.guard}: {mutant.file} was changed"
            path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        yield copy


def failure_of(killer: str, mutant: SourceMutant | None, description: Path) -> str | None:
    """The line of pytest with which the test `killer` fails in a copy with `mutant`, on the stack
    that `description` is of; None when the test passes.

    Raises AssertionError when the test did not run to its verdict.
    """
    with _copy_with(mutant) as copy:
        ended = subprocess.run(
            (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", killer),
            cwd=copy,
            env=dict(os.environ)
            | {
                "PYTEST_ADDOPTS": "",  # such as of plugins that are not in the copy
                "PYTHONPATH": str(copy / "src"),
                RUNNING_STACK: str(description),
                "COLUMNS": "300",  # or pytest cuts its line
            },
            timeout=PATIENCE,
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode == 0:
        return None
    failures = [line for line in ended.stdout.splitlines() if line.startswith("FAILED ")]
    assert ended.returncode == 1, ended.stdout[-2_000:]
    assert failures, ended.stdout[-2_000:]
    return failures[0].partition(" - ")[2]


def _shown(console: Console, name: str, noticed_by: str | None) -> bool:
    console.print(f"{name:<32} {noticed_by or 'SURVIVES'}")
    return noticed_by is not None


def _in_simulation(console: Console) -> bool:
    """Whether the simulation notices all of its mutants."""
    killed = []
    for guard in (*MUTANTS, *FENCE):
        seed = killed_at(guard)
        noticed = None if seed is None else f"the simulation, seed {seed}"
        killed.append(_shown(console, guard, noticed))
    for guard in APART:
        seed = killed_apart_at(guard)
        noticed = None if seed is None else f"the simulation with heavy commands, seed {seed}"
        killed.append(_shown(console, guard, noticed))
    return all(killed)


async def _on_servers(console: Console) -> bool:
    """Whether each test passes by itself, and fails with its mutants."""
    killed = []
    with TemporaryDirectory(prefix="execstream-mutants-") as state:
        stack = await devstack.start(Path(state))
        try:
            description = stack.state / DESCRIPTION
            for killer in dict.fromkeys(one.killer for one in SOURCE_MUTANTS):
                line = await asyncio.to_thread(failure_of, killer, None, description)
                killed.append(line is None)
                if line is not None:
                    console.print(f"{killer} fails by itself: {line}")
            for one in SOURCE_MUTANTS:
                line = await asyncio.to_thread(failure_of, one.killer, one, description)
                noticed = line and f"{one.killer.partition('::')[2]}: {line}"
                killed.append(_shown(console, one.guard, noticed))
        finally:
            await stack.stop()
    return all(killed)


def main() -> int:
    """Run every mutant; 1 when one survives, or a test fails without a mutant."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    return 0 if all([_in_simulation(console), asyncio.run(_on_servers(console))]) else 1


if __name__ == "__main__":
    sys.exit(main())
