"""The expected result of the tally, computed from the rows and the journal, and its actual one.

The expected figures are SQL over `node_execution`, `graph_execution` and `journal`: nothing of the
tally's own code. Figures are by block or node, added up over source partitions.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.request import urlopen

import asyncpg
from aiokafka import ConsumerRecord

from execstream.streams.topics import BLOCK_STATS, EVENTS
from tests.worker import PATIENCE, Installation, until

Figures = dict[Any, tuple[Any, ...]]

# As `node_execution` has it: the group-by that the totals stand in for.
_ADDED = """
select block_id, date_trunc('minute', added_time), count(*),
       count(*) filter (where status = 'FAILED')
  from node_execution group by 1, 2
"""
# A step that the end of its run ended: its entry is of the command that moved the run.
_IS_CASCADED = """
exists (select from journal cause
         where cause.graph_exec_id = j.graph_exec_id and cause.command_id = j.command_id
           and cause.type = 'graph.updated')
"""
_IS_SKEWED = "coalesce((j.detail -> 'skewed')::boolean, false)"
_IS_LEFT_OUT = f"({_IS_CASCADED} or {_IS_SKEWED})"
_HAS_CHILD = "coalesce(j.detail -> 'stats' ->> 'child_graph_exec_id', '') <> ''"
_ENDED = f"""
select n.block_id, date_trunc('minute', n.ended_time), count(*),
       count(*) filter (where n.status = 'FAILED' and not {_HAS_CHILD}),
       coalesce(sum(floor(greatest(extract(epoch from n.ended_time - n.started_time), 0) * 1000)),
                0)
  from node_execution n
  join journal j on j.graph_exec_id = n.graph_exec_id and j.node_exec_id = n.id
   and j.status = n.status
 where n.status in ('COMPLETED', 'FAILED') and j.type = 'node.updated' and not {_IS_LEFT_OUT}
 group by 1, 2
"""

# As the journal has it.
_AMOUNT = """
coalesce(sum(case when jsonb_typeof(j.detail -> 'stats' -> '{0}') = 'number'
                   and (j.detail -> 'stats' ->> '{0}')::numeric between -9223372036854775808
                                                                    and 9223372036854775807
             then trunc((j.detail -> 'stats' ->> '{0}')::numeric) else 0 end), 0)
"""
_COST = _AMOUNT.format("cost")
_TOKENS = _AMOUNT.format("input_token_count") + "+" + _AMOUNT.format("output_token_count")
_STEPS = """
  from journal j
  join node_execution n on n.graph_exec_id = j.graph_exec_id and n.id = j.node_exec_id
  join graph_execution g on g.id = j.graph_exec_id
 where j.type = 'node.updated'
"""
_JOURNAL_MINUTES = f"""
select n.block_id, date_trunc('minute', j.at),
       count(*) filter (where j.status <> 'TERMINATED' and not {_IS_LEFT_OUT}),
       count(*) filter (where j.status = 'FAILED' and not {_IS_LEFT_OUT} and not {_HAS_CHILD}),
       count(*) filter (where j.status = 'TERMINATED'), {_COST}, {_TOKENS},
       count(*) filter (where {_IS_CASCADED} and not {_IS_SKEWED}),
       count(*) filter (where j.status <> 'TERMINATED' and {_IS_SKEWED})
{_STEPS} and j.status in ('COMPLETED', 'FAILED', 'TERMINATED') group by 1, 2
"""
_JOURNAL_NODES = f"""
select g.graph_id, n.node_id, (j.at at time zone 'UTC')::date,
       count(*) filter (where j.status <> 'TERMINATED' and not {_IS_LEFT_OUT}),
       count(*) filter (where j.status = 'FAILED' and not {_IS_LEFT_OUT} and not {_HAS_CHILD}),
       count(*) filter (where j.status = 'TERMINATED'), {_COST}, {_TOKENS},
       count(*) filter (where {_IS_CASCADED} and not {_IS_SKEWED}),
       count(*) filter (where j.status <> 'TERMINATED' and {_IS_SKEWED})
{_STEPS} and j.status in ('COMPLETED', 'FAILED', 'TERMINATED') group by 1, 2, 3
"""
_JOURNAL_USERS = f"""
select g.user_id, (j.at at time zone 'UTC')::date,
       count(*) filter (where not {_IS_LEFT_OUT}),
       count(*) filter (where j.status = 'FAILED' and not {_IS_LEFT_OUT} and not {_HAS_CHILD}),
       {_COST}, {_TOKENS}
{_STEPS} and j.status in ('COMPLETED', 'FAILED') and not g.dry_run group by 1, 2
"""
_JOURNAL_GRAPHS = """
select g.graph_id, date_trunc('minute', j.at), j.status, count(*)
  from journal j join graph_execution g on g.id = j.graph_exec_id
 where j.type in ('graph.created', 'graph.updated') and j.status is not null group by 1, 2, 3
"""
_JOURNAL_ERRORS = f"""
select n.block_id, count(*) {_STEPS} and j.status = 'FAILED' and not {_IS_LEFT_OUT} group by 1
"""
_JOURNAL_RUN_ERRORS = f"""
select j.graph_exec_id, n.block_id, count(*) {_STEPS} and j.status = 'FAILED'
   and not {_IS_LEFT_OUT} group by 1, 2
"""

# The results of the tally, each beside its expectation.
_SAID_ADDED = """
select block_id, minute, sum(added), sum(added_failed) from block_minute
 group by 1, 2 having sum(added) > 0
"""
_SAID_ENDED = """
select block_id, minute, sum(ended), sum(failed), sum(duration_ms) from block_minute
 group by 1, 2 having sum(ended) > 0
"""
_SAID_MINUTES = """
select block_id, minute, sum(ended), sum(failed), sum(terminated), sum(cost), sum(tokens),
       sum(cascaded), sum(skewed)
  from block_minute group by 1, 2 having sum(ended) + sum(terminated) + sum(cascaded + skewed) > 0
"""
_SAID_NODES = """
select graph_id, node_id, day, sum(ended), sum(failed), sum(terminated), sum(cost), sum(tokens),
       sum(cascaded), sum(skewed)
  from node_day group by 1, 2, 3 having sum(ended) + sum(terminated) + sum(cascaded + skewed) > 0
"""
_SAID_USERS = """
select user_id, day, sum(ended), sum(failed), sum(cost), sum(tokens) from user_day group by 1, 2
"""
_SAID_GRAPHS = """
select graph_id, minute, status, sum(moves) from graph_minute,
       lateral (values ('INCOMPLETE', incomplete), ('QUEUED', queued), ('RUNNING', running),
                       ('COMPLETED', completed), ('TERMINATED', terminated), ('FAILED', failed),
                       ('REVIEW', review)) as by_status(status, moves)
 where moves > 0 group by 1, 2, 3
"""
_SAID_ERRORS = "select block_id, sum(failures) from block_error group by 1"
_JOURNAL_SPENDING = f"""
select by_subject.per, by_subject.subject, (j.at at time zone 'UTC')::date, {_COST}
  from journal j
  join node_execution n on n.graph_exec_id = j.graph_exec_id and n.id = j.node_exec_id
  join graph_execution g on g.id = j.graph_exec_id
 cross join lateral (values ('run', g.id::text), ('user_day', g.user_id),
                            ('graph_day', g.graph_id)) as by_subject(per, subject)
 where j.type = 'node.updated' and j.status in ('COMPLETED', 'FAILED') and not g.dry_run
   and not j.detail ? 'imported'
 group by 1, 2, 3 having {_COST} <> 0
"""
_SAID_SPENDING = """
select per, subject, day, sum(cost) from spending group by 1, 2, 3 having sum(cost) <> 0
"""
_SAID_RUN_ERRORS = """
select graph_exec_id, block_id, sum(failures) from run_error group by 1, 2
"""

COMPARED: dict[str, tuple[str, str]] = {
    "added, as rows": (_ADDED, _SAID_ADDED),
    "ended, as rows": (_ENDED, _SAID_ENDED),
    "blocks, as journal": (_JOURNAL_MINUTES, _SAID_MINUTES),
    "nodes, as journal": (_JOURNAL_NODES, _SAID_NODES),
    "users, as journal": (_JOURNAL_USERS, _SAID_USERS),
    "graphs, as journal": (_JOURNAL_GRAPHS, _SAID_GRAPHS),
    "errors, as journal": (_JOURNAL_ERRORS, _SAID_ERRORS),
    "errors of runs, as journal": (_JOURNAL_RUN_ERRORS, _SAID_RUN_ERRORS),
    "spending, as journal": (_JOURNAL_SPENDING, _SAID_SPENDING),
}

# How many columns of a row are its key, where it is not one.
_KEYS = {
    "added, as rows": 2,
    "ended, as rows": 2,
    "blocks, as journal": 2,
    "nodes, as journal": 3,
    "users, as journal": 2,
    "graphs, as journal": 3,
    "errors of runs, as journal": 2,
    "spending, as journal": 3,
}

_FIGURES = (
    *("added", "added_failed", "ended", "failed", "terminated", "duration_ms", "cost"),
    *("cascaded", "caller_failed", "skewed"),
)
_TOTALS = f"""
select block_id, {", ".join(f"sum({name})::bigint" for name in _FIGURES)}
  from block_minute group by 1
"""
_STORED_TOTALS = f"""
select block_id, {", ".join(f"sum({name})::bigint" for name in _FIGURES)}
  from block_total group by 1
"""
_NODE_TOTALS = f"""
select graph_id, node_id, {", ".join(f"sum({name})::bigint" for name in _FIGURES)}
  from node_day group by 1, 2
"""
_HISTOGRAMS = """
select block_id, sum(bucket.count) from (
    select block_id, sum_counts(histogram) as counts from block_minute group by 1) summed,
    lateral (select sum(value::bigint) as count from jsonb_each_text(counts)) bucket
 where bucket.count > 0 group by 1
"""
_DURATIONS = f"""
select n.block_id, count(*)
  from node_execution n
  join journal j on j.graph_exec_id = n.graph_exec_id and j.node_exec_id = n.id
   and j.status = n.status
 where n.status in ('COMPLETED', 'FAILED') and n.started_time is not null
   and j.type = 'node.updated' and not {_IS_LEFT_OUT}
 group by 1
"""
_CLASSES = """
select block_id, sum(class.count) from (
    select block_id, sum_counts(error_classes) as counts from block_minute group by 1) summed,
    lateral (select sum(value::bigint) as count from jsonb_each_text(counts)) class
 where class.count > 0 group by 1
"""


async def counted(place: Installation, patience: float = 60.0) -> None:
    """Return when the tally has counted all events there are."""
    ends = await place._ends(EVENTS.name)

    async def is_at_end() -> bool:
        rows = await place.db.fetch(
            "select partition, next_offset from consumer_offset where consumer = 'tally'"
        )
        found = {row["partition"]: row["next_offset"] for row in rows}
        return all(found.get(number, 0) >= end for number, end in ends.items())

    await until(is_at_end, patience)


async def figures(db: asyncpg.Pool, statement: str, keys: int) -> Figures:
    """The rows of `statement` by their first `keys` columns."""
    rows = [tuple(row) for row in await db.fetch(statement)]
    return {row[:keys]: row[keys:] for row in rows}


async def differences(place: Installation) -> list[str]:
    """The differences between the totals in Postgres and the sums of rows and journal."""
    compared = COMPARED | {
        "histograms": (_DURATIONS, _HISTOGRAMS),
        "error classes": (_JOURNAL_ERRORS, _CLASSES),
        "totals of blocks": (_TOTALS, _STORED_TOTALS),
    }
    found = []
    for name, (expected, said) in compared.items():
        keys = _KEYS.get(name, 1)
        found += differing(
            name, await figures(place.db, expected, keys), await figures(place.db, said, keys)
        )
    return found


async def agreed(place: Installation) -> None:
    """Return when totals and rows agree; AssertionError with the differences when they never do."""
    found: list[str] = []

    async def do_agree() -> bool:
        found[:] = await differences(place)
        return not found

    with suppress(TimeoutError):
        await until(do_agree)
    assert not found


def differing(name: str, expected: Mapping[Any, Any], found: Mapping[Any, Any]) -> list[str]:
    """The differences, in words; empty when there are none."""
    return [
        f"{name}, {key}: {expected.get(key)} expected, {found.get(key)} found"
        for key in sorted(expected.keys() | found.keys(), key=str)
        if expected.get(key) != found.get(key)
    ]


async def totals(place: Installation) -> Figures:
    """Totals of all blocks, as the sum of `block_minute`."""
    return await figures(place.db, _TOTALS, 1)


async def stored_totals(place: Installation) -> Figures:
    """Totals of all blocks, from `block_total`."""
    return await figures(place.db, _STORED_TOTALS, 1)


async def node_totals(place: Installation) -> Figures:
    """Totals of all nodes, as the sum of `node_day`."""
    return await figures(place.db, _NODE_TOTALS, 2)


async def published(place: Installation) -> Figures:
    """Totals of all blocks, as a consumer of `execution.block-stats.v1` has them: for each key the
    value with the greatest position, of equal ones the later, since the last null.
    """
    ends = await place._ends(BLOCK_STATS.name)
    wanted = {number: end for number, end in ends.items() if end}
    records = await place._read(BLOCK_STATS.name, lambda seen: _is_read(seen, wanted))
    newest: dict[bytes | None, dict[str, Any]] = {}
    for record in records:
        value = json.loads(record.value or b"null")
        if value is None:
            newest.pop(record.key, None)
        elif record.key not in newest or newest[record.key]["position"] <= value["position"]:
            newest[record.key] = value
    return summed(list(newest.values()), "block_id")


def _is_read(seen: dict[int, ConsumerRecord], wanted: dict[int, int]) -> bool:
    return all(n in seen and seen[n].offset + 1 >= end for n, end in wanted.items())


def summed(values: Sequence[Mapping[str, Any]], *keys: str) -> Figures:
    """The figures of `values`, added up over source partitions."""
    sums: dict[Any, list[int]] = {}
    for value in values:
        sum_of = sums.setdefault(tuple(value[key] for key in keys), [0] * len(_FIGURES))
        for index, name in enumerate(_FIGURES):
            sum_of[index] += value[name]
    return {key: tuple(sum_of) for key, sum_of in sums.items()}


async def live(path: str, ports: Sequence[int]) -> tuple[list[int], list[dict[str, Any]]]:
    """The answers of the workers at `ports`: their partitions, and all entries."""
    partitions: list[int] = []
    entries: list[dict[str, Any]] = []
    for port in ports:
        answer = json.loads(await asyncio.to_thread(_get, f"http://127.0.0.1:{port}{path}"))
        partitions += answer["partitions"]
        entries += answer["data"]
    return sorted(partitions), entries


def _get(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - of http, from above
        body: bytes = answer.read()
        return body


async def eventually_equal(
    name: str, expected: Figures, found: Any, patience: float = PATIENCE
) -> list[str]:
    """The differences that remain between `expected` and the answer of `found` until there are
    none, or `patience` seconds are over."""
    begun = time.monotonic()
    while True:
        left = differing(name, expected, await found())
        if not left or time.monotonic() - begun > patience:
            return left
        await asyncio.sleep(0.2)
