"""The registry of tables, against the schema that the migrations make."""

from execstream.recovery.verify.row_comparison import columns_of
from execstream.storage.schema.tables import DEAD_LETTERS, TABLES
from tests.storage.factories import Tables

# A partitioned table has the column of its partitions in the primary key, too.
_KEYS = """
select c.relname::text, array_agg(a.attname::text) as key
  from pg_class c
  left join pg_index i on i.indrelid = c.oid and i.indisprimary
  left join pg_partitioned_table p on p.partrelid = c.oid
  left join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
   and a.attnum <> all (coalesce(p.partattrs, ''))
 where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
   and not c.relispartition
 group by 1
"""


async def test_every_table_is_there_with_its_key(tables: Tables) -> None:
    """The keys are primary keys, except for dead letters with an id in place of the position."""
    keys = {table.name: set(table.key) for table in TABLES} | {DEAD_LETTERS.name: {"id"}}

    assert keys == {row["relname"]: set(row["key"]) for row in await tables.db.fetch(_KEYS)}


async def test_columns_are_there(tables: Tables) -> None:
    """Columns of keys, and those that are not compared, exist."""
    for table in TABLES:
        columns = dict(await columns_of(tables.db, table.name))
        assert columns.keys() >= {*table.key, *table.left_out}, table
