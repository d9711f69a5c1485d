"""Comparison of stored rows and published events with the reference fold.

Postgres compares the rows, so that both sides have the same spelling of JSON and numbers.
Each `assert_…` compares everything there is of its kind, so that nothing may be there in excess.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from execstream.recovery.verify.row_comparison import Differing, compare
from execstream.streams.append_time import append_time
from execstream.streams.omitted import OmittedValue
from execstream.workload.reference import Reference, read_event, read_json
from execstream.workload.reference.table_rows import table_rows
from tests.worker import Installation

Row = dict[str, Any]
Place = tuple[int, int]

# Which fields of a refusal's detail are public; the rest helps people and may change.
_PUBLIC_DETAIL = frozenset({"found", "wanted", "allowed_from", "skipped"})


async def reference_of(installation: Installation) -> Reference:
    """A reference fed with everything on the commands topic, in the order in which it was put:
    where a run gets records from two partitions, their own order is unknown.
    """
    reference = Reference(installation.settings.max_command_bytes)
    records = {(one.partition, one.offset): one for one in await installation.commands()}
    unread = {
        (one.partition, offset)
        for one in records.values()
        if isinstance(one.value, OmittedValue) and one.value.size is None
        for offset in one.value.offsets[:-1]
    }
    for at in installation.puts:
        if at in unread:  # the last of them stands for all
            continue
        record = records.pop(at)
        reference.feed(*at, record.key, record.value, append_time(record))
    assert not records
    return reference


async def assert_equal(installation: Installation, reference: Reference) -> None:
    """Rows, journal, refusals, dead letters, counts, and events are those of `reference`."""
    await assert_rows_equal(installation.db, reference)
    published = await installation.events()
    values = {number: [one.value for one in records] for number, records in published.items()}
    assert_events_equal(values, reference.events())


async def assert_rows_equal(db: asyncpg.Pool, reference: Reference) -> None:
    """Assert that all tables are those of `reference`, which was fed with all records ever put."""
    rows = [line for row in await differing_rows(db, reference) for line in row.lines()]
    details = await differing_details(db, reference)
    counts = await differing_counts(db, reference)
    assert (rows, details, counts) == ([], {}, {}), f"{rows} {details} {counts}"[:2_000]


async def differing_rows(db: asyncpg.Pool, reference: Reference) -> list[Differing]:
    """Rows of all tables that are not those of `reference`, in the columns that it has."""
    async with db.acquire() as connection:
        return [
            row
            for table, rows in table_rows(reference).items()
            for row in await compare(connection, table, rows, "true")
        ]


async def differing_details(db: asyncpg.Pool, reference: Reference) -> dict[Place, tuple[Row, Row]]:
    """Details of refusals, found and expected, with different public parts."""
    rows = [
        row | {"detail": read_json(row["detail"])} for row in map(dict, await db.fetch(_DETAILS))
    ]
    found, expected = map(_public_details, (rows, reference.refusals))
    return {
        place: (detail, expected[place])
        for place, detail in found.items()
        if place in expected and detail != expected[place]
    }


_DETAILS = "select source_partition, source_offset, reason, detail from refusal"


def _public_details(refusals: Iterable[Row]) -> dict[Place, Row]:
    return {
        (row["source_partition"], row["source_offset"]): public(row)["detail"] for row in refusals
    }


_COUNTS = """
select sum(applied) as applied, sum(duplicate) as duplicate, sum(refused) as refused,
       sum(dead) as dead, sum(quarantined) as quarantined,
       (select count(*) from dead_letter) as dead_letters
  from consumer_offset where consumer = 'apply'
"""


async def differing_counts(db: asyncpg.Pool, reference: Reference) -> dict[str, int]:
    """Excess of commands by outcome, and of dead letters, which have no unique place. The reference
    sets nothing aside, so each record in quarantine is one too many.
    """
    counts = await db.fetchrow(_COUNTS)
    expected = {
        **reference.counts,
        "quarantined": 0,
        "dead_letters": len(reference.dead_letters),
    }
    excess = {name: int(counts[name] or 0) - number for name, number in expected.items()}
    return {name: number for name, number in excess.items() if number}


def assert_events_equal(
    published: Mapping[int, Iterable[bytes]], expected: Mapping[int, list[Row]]
) -> None:
    """Compare the events that a subscriber keeps when it drops those not greater than the last
    `source`.
    """
    found = {number: kept(map(read_event, values)) for number, values in published.items()}
    assert set(found) == set(expected)
    for number, events in expected.items():
        for is_now, should_be in zip(found[number], events, strict=False):
            found_one, expected_one = public(is_now), public(should_be)
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


def public(row: Row) -> Row:
    """A refusal's detail without the part that is not in the contract."""
    if "reason" not in row:
        return row
    detail = row.get("detail") or {}
    shown = {name: detail[name] for name in _PUBLIC_DETAIL & detail.keys()}
    is_move = row["reason"] == "illegal_transition" or "skipped" in shown
    return row | {"detail": shown if is_move else {}}
