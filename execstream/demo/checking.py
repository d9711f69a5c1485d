"""Comparing what stands in Postgres with an independent fold of what was sent.

Partition by partition, in processes of their own: the fold keeps everything in memory and is
not fast. Nobody else may have sent commands to the partition meanwhile.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from execstream.reference import Reference, read_json
from execstream.settings import Settings
from execstream.simulation import read_lines
from storage.migrate import quoted
from streams.partitions import partition_of

RUNS_AT_ONCE = 200
MOST_TOLD = 20  # differences per partition

Row = Mapping[str, Any]
Rows = dict[tuple[Any, ...], Row]

_RUNS = "select * from graph_execution where id = any($1::uuid[])"
_STEPS = "select * from node_execution where graph_exec_id = any($1::uuid[])"
_ENTRIES = """
select graph_exec_id, seq, at, command_id, type, node_exec_id, name, data, was, status,
       source_partition, source_offset, source_index
  from journal where graph_exec_id = any($1::uuid[])
"""


class Share(NamedTuple):
    """What was sent to one partition: its lines of a file, from offset `begin` on."""

    file: Path
    sent: int  # lines of the file that were sent, to all partitions
    partition: int
    partitions: int
    begin: int


class Verdict(NamedTuple):
    """How many top-level runs a share began, and where rows differ."""

    runs: int
    differences: list[str]


async def check(
    settings: Settings, shares: Iterable[Share], on_checked: Callable[[], None]
) -> list[Verdict]:
    """A verdict for each share; `on_checked` is called after each."""
    loop = asyncio.get_running_loop()
    target = (settings.postgres, settings.schema_, settings.max_command_bytes)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _ignore_interrupts) as pool:
        checks = [loop.run_in_executor(pool, check_share, share, *target) for share in shares]
        try:
            for done in asyncio.as_completed(checks):
                await done
                on_checked()
        except BaseException:
            for process in active_children():
                process.kill()
            await asyncio.gather(*checks, return_exceptions=True)
            raise
        return [check.result() for check in checks]


def _ignore_interrupts() -> None:
    """Ctrl-C is for the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_share(share: Share, dsn: str, schema: str, max_command_bytes: int) -> Verdict:
    """Fold a share and compare; runs in a process of its own."""
    reference = Reference(max_command_bytes)
    offset = share.begin
    for key, value in islice(read_lines(share.file), share.sent):
        if partition_of(key, share.partitions) == share.partition:
            reference.feed(share.partition, offset, key, value)
            offset += 1
    tops = sum(run["parent_graph_exec_id"] is None for run in reference.runs.values())
    return Verdict(tops, asyncio.run(_compare(reference, dsn, schema)))


async def _compare(reference: Reference, dsn: str, schema: str) -> list[str]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": quoted(schema)})
    try:
        told: list[str] = []
        async for difference in _differences(reference, connection):
            told.append(difference)
            if len(told) == MOST_TOLD:
                break
        return told
    finally:
        await connection.close()


async def _differences(reference: Reference, connection: asyncpg.Connection) -> AsyncIterator[str]:
    steps = _by_run(reference)
    ids = iter(reference.runs)
    while batch := list(islice(ids, RUNS_AT_ONCE)):
        expected: dict[str, Rows] = {
            _RUNS: {(run_id,): reference.runs[run_id] for run_id in batch},
            _STEPS: {key: row for run_id in batch for key, row in steps.get(run_id, ())},
            _ENTRIES: {
                (run_id, entry["seq"]): entry | {"graph_exec_id": run_id}
                for run_id in batch
                for entry in reference.journal[run_id]
            },
        }
        for statement, rows in expected.items():
            found = [_plain(row) for row in await connection.fetch(statement, batch)]
            for difference in _between(rows, {_key(statement, row): row for row in found}):
                yield difference


def _by_run(reference: Reference) -> dict[str, list[tuple[tuple[Any, ...], Row]]]:
    """The columns of the reference's steps, by run."""
    steps: dict[str, list[tuple[tuple[Any, ...], Row]]] = {}
    for key, step in reference.steps.items():
        columns = {name: step[name] for name in step if name not in ("inputs", "outputs")}
        steps.setdefault(key[0], []).append((key, columns))
    return steps


def _key(statement: str, row: Row) -> tuple[Any, ...]:
    if statement is _RUNS:
        return (row["id"],)
    return (row["graph_exec_id"], row["id" if statement is _STEPS else "seq"])


def _plain(record: asyncpg.Record) -> dict[str, Any]:
    """A row as the reference has it: ids as text, JSON with exact numbers."""
    return {name: _plain_value(name, value) for name, value in record.items()}


_JSON_COLUMNS = frozenset(
    ["inputs", "credential_inputs", "nodes_input_masks", "stats", "execution_data", "data"]
)


def _plain_value(column: str, value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if column in _JSON_COLUMNS and value is not None:
        return read_json(value)
    return value


def _between(expected: Rows, found: Rows) -> Iterable[str]:
    for key, row in expected.items():
        name = "/".join(map(str, key))
        if key not in found:
            yield f"{name} is missing"
            continue
        for column, value in row.items():
            if found[key][column] != value:
                yield f"{name} has {column} {found[key][column]!r} and should have {value!r}"
    for key in found.keys() - expected.keys():
        yield f"{'/'.join(map(str, key))} should not be there"
