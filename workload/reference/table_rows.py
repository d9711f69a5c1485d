"""Conversion of the reference's rows for `recovery.verify.row_comparison`.

The result is tuples in the order of the columns, with JSON as text. Names and keys of tables come
from the registry, and nothing else from the product.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from execstream.storage.schema import tables
from execstream.storage.schema.tables import Table
from execstream.workload.reference.machine import Reference
from execstream.workload.reference.rows import Row

TableRow = tuple[Any, ...]

# Columns that the reference does not know are not compared.
_JOURNAL = replace(tables.JOURNAL, left_out=("detail",))
_REFUSALS = replace(tables.REFUSALS, left_out=("detail",))
_DEAD_LETTERS = replace(
    tables.DEAD_LETTERS,
    left_out=("id", "topic", "headers", "detail", "received_at", "redriven_at"),
)
_JSON = frozenset(
    [
        *("inputs", "credential_inputs", "nodes_input_masks", "attributes"),
        *("stats", "execution_data", "data"),
    ]
)
_WITH_DATA = ("node.input_added", "node.output_added", None)  # None: a key-value

_encode = msgspec.json.Encoder(decimal_format="number").encode


def run_rows(references: Iterable[Reference]) -> dict[Table, list[TableRow]]:
    """Rows of runs, steps and the journal."""
    rows: dict[Table, list[TableRow]] = {tables.RUNS: [], tables.STEPS: [], _JOURNAL: []}
    for reference in references:
        rows[tables.RUNS] += map(_row, reference.runs.values())
        rows[tables.STEPS] += map(_step, reference.steps.values())
        for entries in reference.journal.values():
            rows[_JOURNAL] += map(_row, entries)
    return rows


def table_rows(reference: Reference) -> dict[Table, list[TableRow]]:
    """Rows of all tables that commands are written to."""
    return run_rows([reference]) | {
        tables.KEY_VALUES: list(map(_row, reference.kv.values())),
        tables.KEY_VALUE_JOURNAL: list(map(_row, reference.kv_journal)),
        _REFUSALS: [_row(refusal | {"detail": None}) for refusal in reference.refusals],
        _DEAD_LETTERS: list(map(_dead_letter, reference.dead_letters)),
    }


def _step(step: Row) -> TableRow:
    return _row({name: step[name] for name in step if name not in ("inputs", "outputs")})


def _dead_letter(letter: Row) -> TableRow:
    place, record = (letter["partition"], letter["offset"]), (letter["key"], letter["value"])
    return (None, None, *place, *record, None, letter["reason"], None, None, None)


def _row(row: Row) -> TableRow:
    return tuple(
        _encode(value).decode() if name in _JSON and _is_json(name, value, row) else value
        for name, value in row.items()
    )


def _is_json(column: str, value: object, row: Row) -> bool:
    """Return whether a value is JSON, null included, and not an absent value."""
    return value is not None or (column == "data" and row.get("type") in _WITH_DATA)
