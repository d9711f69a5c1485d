"""Rows of a commit, fitted to the columns that their tables have now.

A migration of another release may add columns while a worker runs. New columns come last and may
be null, so a row with fewer values gets nulls, and of a row with more the last ones wait: their
migration takes them from the journal.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg

from execstream.storage.schema.tables import Table

Row = tuple[Any, ...]

_WIDTHS = """
select relname, (select count(*) from pg_attribute
                  where attrelid = pg_class.oid and attnum > 0 and not attisdropped)
  from pg_class where oid = any (select to_regclass(name) from unnest($1::text[]) name)
"""
# A connection knows its row types from when it was opened, and so are these.
_widths: WeakKeyDictionary[asyncpg.Connection, Mapping[str, int]] = WeakKeyDictionary()


class ColumnsAdded(ConnectionError):
    """A table has other columns than when the connection was opened: a new one sees them."""


async def fit_rows(
    connection: asyncpg.Connection, rows: Mapping[Table, Sequence[Row]]
) -> list[Sequence[Row]]:
    """The rows of each table with as many values as it had columns when the connection first
    committed, in the order of the tables.
    """
    widths = _widths.get(connection)
    if widths is None:
        names = [table.name for table in rows]
        widths = _widths[connection] = dict(map(tuple, await connection.fetch(_WIDTHS, names)))
    return [_fitted(some, widths[table.name]) for table, some in rows.items()]


def _fitted(rows: Sequence[Row], width: int) -> Sequence[Row]:
    if not rows or len(rows[0]) == width:
        return rows
    missing = (None,) * (width - len(rows[0]))
    return [(*row[:width], *missing) for row in rows]


@contextmanager
def noticing_new_columns() -> Iterator[None]:
    """Raise ColumnsAdded, which a new connection cures, where Postgres expects other rows."""
    try:
        yield
    except asyncpg.DatatypeMismatchError as error:
        if "wrong number of columns" not in str(error):
            raise
        raise ColumnsAdded(str(error)) from error
