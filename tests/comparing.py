"""Whether what was stored and published is what the reference fold says; JSON counts by value.

Each `assert_…` compares everything there is of its kind, so that nothing may be there in excess.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from execstream.workload.reference import Reference, read_event, read_json
from tests.worker import Installation

Row = dict[str, Any]

_JSON = frozenset(
    {
        *("inputs", "credential_inputs", "nodes_input_masks"),
        *("stats", "execution_data", "data", "detail"),
    }
)
_UUIDS = frozenset({"id", "graph_exec_id", "node_exec_id", "command_id", "parent_graph_exec_id"})
# Which fields of a refusal's detail are public; the rest helps people and may change.
_PUBLIC_DETAIL = frozenset({"found", "wanted", "allowed_from", "skipped"})


async def reference_of(installation: Installation) -> Reference:
    """A reference fed with everything on the commands topic, in the order in which it was put:
    where a run gets records from two partitions, their own order does not tell."""
    reference = Reference(installation.settings.max_command_bytes)
    records = {(one.partition, one.offset): one for one in await installation.commands()}
    for at in installation.puts:
        record = records.pop(at)
        reference.feed(*at, record.key, record.value)
    assert not records
    return reference


async def assert_equal(installation: Installation, reference: Reference) -> None:
    """Rows, journal, refusals, dead letters, counts, and events are those of `reference`."""
    await assert_rows_equal(installation.db, reference)
    published = await installation.events()
    values = {number: [one.value for one in records] for number, records in published.items()}
    assert_events_equal(values, reference.events())


async def assert_rows_equal(db: asyncpg.Pool, reference: Reference) -> None:
    """All tables are those of `reference`, whose records are all that was ever put."""
    await _assert_table(db, "graph_execution", reference.runs.values(), ("id",))
    steps = [_without(step, "inputs", "outputs") for step in reference.steps.values()]
    await _assert_table(db, "node_execution", steps, ("graph_exec_id", "added_seq"))
    journal = [
        {"graph_exec_id": run_id} | entry
        for run_id, entries in reference.journal.items()
        for entry in entries
    ]
    await _assert_table(db, "journal", journal, ("graph_exec_id", "seq"))
    await _assert_table(db, "kv_data", reference.kv.values(), ("user_id", "key"))
    place = ("source_partition", "source_offset")
    await _assert_table(db, "kv_journal", reference.kv_journal, place)
    await _assert_table(db, "refusal", map(_public, reference.refusals), place)
    letters = [_without(letter, "detail") for letter in reference.dead_letters]
    await _assert_table(db, "dead_letter", letters, ("partition", "offset"))
    await _assert_counts(db, reference)


def assert_events_equal(
    published: Mapping[int, Iterable[bytes]], expected: Mapping[int, list[Row]]
) -> None:
    """What a subscriber keeps who drops what is not greater than the last `source` it saw."""
    found = {number: kept(map(read_event, values)) for number, values in published.items()}
    assert set(found) == set(expected)
    for number, events in expected.items():
        for is_now, should_be in zip(found[number], events, strict=False):
            found_one, expected_one = _public(is_now), _public(should_be)
            assert found_one == expected_one, f"{str(found_one)[:1000]} {str(expected_one)[:1000]}"
        assert len(found[number]) == len(events)


def kept(events: Iterable[Row]) -> list[Row]:
    last: list[int] = []
    news = []
    for event in events:
        if event["source"] > last:
            news.append(event)
            last = event["source"]
    return news


async def _assert_table(
    db: asyncpg.Pool, table: str, expected: Iterable[Row], key: tuple[str, ...]
) -> None:
    """The columns that `expected` knows of; an absent column is null."""

    def place(row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in key)

    wanted = {place(row): row for row in expected}
    rows = [_read(row) for row in await db.fetch(f"select * from {table}")]
    found = {place(row): row for row in rows}
    assert len(found) == len(rows)
    assert found.keys() == wanted.keys(), table
    for at, row in wanted.items():
        differing = {n: (found[at][n], row[n]) for n in row if found[at][n] != row[n]}
        assert not differing, f"{table} {at}: (found, expected) {str(differing)[:2000]}"


async def _assert_counts(db: asyncpg.Pool, reference: Reference) -> None:
    counts = await db.fetchrow(
        """select sum(applied) as applied, sum(duplicate) as duplicate, sum(refused) as refused,
                  sum(dead) as dead from consumer_offset where consumer = 'apply'"""
    )
    assert {name: int(count) for name, count in counts.items()} == dict(reference.counts)


def _read(record: asyncpg.Record) -> Row:
    row = dict(record)
    for name in _JSON & row.keys():
        row[name] = None if row[name] is None else read_json(row[name])
    for name in _UUIDS & row.keys():
        row[name] = None if row[name] is None else str(row[name])
    return _public(row)


def _public(row: Row) -> Row:
    """Without what a refusal's detail says beyond the contract."""
    if "reason" not in row:
        return row
    detail = row.get("detail") or {}
    public = {name: detail[name] for name in _PUBLIC_DETAIL & detail.keys()}
    is_move = row["reason"] == "illegal_transition" or "skipped" in public
    return row | {"detail": public if is_move else {}}


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
