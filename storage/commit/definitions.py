"""Definitions of the totals in Postgres: which held from which source on."""

from collections.abc import Iterable, Sequence

import asyncpg
import msgspec

from execstream.storage.connections import quoted
from execstream.storage.schema.tables import DEFINITIONS
from execstream.storage.unreadable_rows import readable, reading_row
from execstream.streams.totals.definitions import Definition, Definitions, Since, definition
from execstream.streams.totals.error_classes import ErrorClass

_decode_rules = msgspec.json.Decoder(list[tuple[ErrorClass, str]]).decode
_encode = msgspec.json.Encoder().encode


async def load_definitions(
    connection: asyncpg.Connection,
    latest: Definition | None = None,
    schema: str | None = None,
) -> Definitions:
    """Return the definitions of `schema`, or of the connection's own; `latest` where there are
    none.
    """
    table = f"{quoted(schema)}.totals_definition" if schema else "totals_definition"
    if not await connection.fetchval("select to_regclass($1) is not null", table):
        return Definitions(latest)
    rows = await connection.fetch(
        f"""select source_partition, after_offset, after_index, version, rules::text as rules
              from {table}"""
    )
    return Definitions(latest, readable(rows, _since))


def _since(row: asyncpg.Record) -> Since:
    with reading_row(DEFINITIONS.name):
        known = definition(row["version"], _decode_rules(row["rules"]))
        return Since(row["source_partition"], (row["after_offset"], row["after_index"]), known)


# Only the owner of a partition counts it, so no other worker has counted since the stored offset.
_ADD = """
insert into totals_definition (source_partition, after_offset, after_index, version, rules)
select c.partition, c.published_offset, c.published_index, $4, $5::text::jsonb
  from unnest($2::int[], $3::bigint[]) as owned(partition, epoch)
  join consumer_offset c on c.consumer = 'tally' and c.topic = $1
   and c.partition = owned.partition and c.epoch = owned.epoch
on conflict (source_partition, after_offset, after_index) do update
   set version = excluded.version, rules = excluded.rules, since = excluded.since
"""


async def begin_counting(
    connection: asyncpg.Connection,
    topic: str,
    owned: Iterable[tuple[int, int]],
    latest: Definition,
) -> Sequence[int]:
    """Note `latest` for the partitions of `owned` (partition, epoch) that another definition held
    for; their numbers."""
    newest = (await load_definitions(connection, latest)).newest
    changed = [one for one in owned if _key(newest.get(one[0])) != _key(latest)]
    if changed:
        numbers, epochs = zip(*changed, strict=True)
        rules = _encode(latest.rules).decode()
        await connection.execute(_ADD, topic, numbers, epochs, latest.version, rules)
    return [number for number, _ in changed]


def _key(known: Definition | None) -> tuple[object, ...] | None:
    return None if known is None else (known.version, known.rules)
