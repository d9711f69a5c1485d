"""Runs with all their values, and pages of them.

Everything of one answer is read in one snapshot. Like `GraphExecutionWithNodes` and
`GraphExecutionMeta` in all but the order of members.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
from msgspec import Raw
from msgspec.json import Decoder

from execstream.dashboard.streamed.steps import Step, StepReader, StepsOfRun, parts_of_step
from execstream.dashboard.streamed.values import ROWS_AT_A_TIME, Limit, Value, documents, encoded
from execstream.storage.models.blocks import INTERFACE, WEBHOOKS, BlockType
from execstream.storage.models.graph_execution import GraphExecutionMeta
from execstream.streams import exact_json
from execstream.streams.statuses import ExecutionStatus

Row = Mapping[str, Any]

_PLAIN = """id, user_id, graph_id, graph_version, preset_id, dry_run, status, is_shared, created_at,
    started_at, ended_at, trimmed_at"""
_VALUES = ("inputs", "credential_inputs", "nodes_input_masks")
_SMALL = ("stats", "attributes")
_DOCUMENTS = (*_VALUES, *_SMALL)
_NO_VALUES = ", ".join(f"null as {column}, false as has_{column}" for column in _VALUES)
_AS_THEY_ARE = ("inputs", "nodes_input_masks")
_KEPT = 1024  # bytes of a value that is sent twice, as a step's and as the run's
_NAMES = ("name", "value", "payload")  # of pins that make up inputs and outputs
_NULL = Value("null", "", (), {})
_fields = Decoder(dict[str, Raw]).decode


class RunRows:
    """The runs of a statement with the columns RUN_COLUMNS."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        statement: str,
        *args: object,
        with_values: bool = True,
    ) -> None:
        self._connection = connection
        self._statement = statement
        self._args = args

        columns = documents(*_DOCUMENTS) if with_values else f"{_NO_VALUES}, {documents(*_SMALL)}"
        self._rows = f"select {_PLAIN}, {columns} from ({statement}) run"

    async def rows(self) -> AsyncIterator[Row]:
        """Yield the rows with JSON columns as by `documents`."""
        async for row in self._connection.cursor(self._rows, *self._args, prefetch=ROWS_AT_A_TIME):
            yield row

    async def first(self) -> Row | None:
        """Return the first row."""
        row: Row | None = await self._connection.fetchrow(self._rows, *self._args)
        return row

    def document(self, row: Row, column: str) -> Value:
        """Return a JSON column."""
        if not row[f"has_{column}"]:
            return Value("null", "", (), {})
        return self.part(row, column)

    def part(self, row: Row, column: str, expression: str = "") -> Value:
        """Return a JSON column, or the value of `expression` over it."""
        statement = (
            f"select {expression or column} from ({self._statement}) run"
            f" where id = ${len(self._args) + 1}"
        )
        text = None if expression else row[column]
        seq = 1 if row["trimmed_at"] is None else None  # of `graph.created`
        place = {"node_exec_id": None, "field": column, "pin": None, "seq": seq}
        return Value(text, statement, (*self._args, row["id"]), place)

    async def fields(self, row: Row, left_out: Sequence[str]) -> bytes:
        """Return the members of the run's JSON but those, with the brace that ends it."""
        known: dict[str, Any] = dict.fromkeys(_DOCUMENTS)
        for column in ("credential_inputs", *_SMALL):
            if column not in left_out:
                text = await self.document(row, column).load(self._connection)
                known[column] = exact_json.decode(text)
        meta = GraphExecutionMeta.from_db(dict(row) | known)
        return exact_json.encode(meta.model_dump(exclude=set(left_out)))[1:]

    async def parts(self, row: Row, limit: Limit) -> AsyncIterator[bytes]:
        """Yield the JSON of a GraphExecutionMeta. Raises UnreadableRun before the first part."""
        large = [*_AS_THEY_ARE, *self.large_credentials(row)]
        fields = await self.fields(row, large)
        before = b"{"
        for column in large:
            yield before + exact_json.encode(column) + b":"
            async for part in limit.parts(self._connection, self.document(row, column)):
                yield part
            before = b","
        yield before + fields

    def large_credentials(self, row: Row) -> list[str]:
        """Large ones are sent as they are stored."""
        is_large = row["has_credential_inputs"] and row["credential_inputs"] is None
        return ["credential_inputs"] if is_large else []


class Interface:
    """The steps that make up inputs and outputs of a run, which has `stored` inputs or none."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._inputs: dict[str, Value] = {}
        self._payload: Value | None = None
        self._outputs: dict[str, list[Value]] = {}

    async def add(self, step: Step) -> None:
        """Remember a step's part, if it has any."""
        if step.block_type not in INTERFACE or step.fields.status == ExecutionStatus.INCOMPLETE:
            return
        given = await self._given(step)
        if step.block_type in WEBHOOKS:
            self._payload = given.get("payload", self._payload)
            return
        name = given.get("name")
        text = None if name is None else exact_json.decode(await name.load(self._connection))
        value = given.get("value", _NULL)
        if not isinstance(text, str):
            return
        if step.block_type == BlockType.INPUT:
            self._inputs[text] = value
        else:
            self._outputs.setdefault(text, []).append(value)

    async def _given(self, step: Step) -> dict[str, Value]:
        """The inputs of the step with these names."""
        document = step.inputs.document
        if document is None:
            given = dict(step.inputs.pins)
        elif document.text is not None:
            given = {
                name: document.part(name, bytes(value).decode())
                for name, value in _fields(document.text).items()
                if name in _NAMES
            }
        else:
            given = {name: document.part(name) for name in await self._names(document)}
        return {name: given[name].without_text(_KEPT) for name in _NAMES if name in given}

    async def _names(self, document: Value) -> list[str]:
        names = f"unnest(array{list(_NAMES)}) name"
        rows = await self._connection.fetch(
            f"select name from {names} where ({document.statement}) ? name", *document.args
        )
        return [row["name"] for row in rows]

    async def inputs(self, runs: RunRows, row: Row, limit: Limit) -> AsyncIterator[bytes]:
        """Yield the JSON of the inputs: the stored ones, else those of the steps."""
        payload = [] if self._payload is None else [_placed("inputs", "payload", self._payload)]
        if not row["has_inputs"]:
            given = [_placed("inputs", name, value) for name, value in self._inputs.items()]
            items = [(name, value) for name, value in given if name != "payload" or not payload]
            async for part in limit.object(self._connection, items + payload):
                yield part
        elif not payload:
            async for part in limit.parts(self._connection, runs.document(row, "inputs")):
                yield part
        else:
            # One object of two: the payload takes the place of an input of its name.
            yield b'{"payload":'
            async for part in limit.parts(self._connection, payload[0][1]):
                yield part
            others = await runs.part(row, "inputs", "inputs - 'payload'").load(self._connection)
            yield b"}" if others == "{}" else b","
            for part in encoded(others[1:] if others != "{}" else ""):
                yield part

    async def outputs(self, limit: Limit) -> AsyncIterator[bytes]:
        """Yield the JSON of the outputs, by name."""

        async def items() -> AsyncIterator[tuple[str, Value]]:
            for name, values in self._outputs.items():
                for value in values:
                    yield _placed("outputs", name, value)

        async for part in limit.lists(self._connection, items()):
            yield part


def _placed(field: str, name: str, value: Value) -> tuple[str, Value]:
    return name, replace(value, place=value.place | {"field": field, "name": name})


async def parts_of_run(
    connection: asyncpg.Connection, runs: RunRows, row: Row, steps: StepsOfRun, limit: Limit
) -> AsyncIterator[bytes]:
    """Yield the JSON of a GraphExecutionWithNodes; with a limit, `left_out` is added to it."""
    interface = Interface(connection)
    reader = StepReader(connection, steps)
    before = b'{"node_executions":['
    async for step in reader.steps():
        yield before
        async for part in parts_of_step(connection, reader, step, limit):
            yield part
        await interface.add(step)
        before = b","
    yield before + b'],"inputs":' if before != b"," else b'],"inputs":'
    async for part in interface.inputs(runs, row, limit):
        yield part
    yield b',"outputs":'
    async for part in interface.outputs(limit):
        yield part
    large = ["inputs", "nodes_input_masks", *runs.large_credentials(row)]
    for column in large[1:]:
        yield b"," + exact_json.encode(column) + b":"
        async for part in limit.parts(connection, runs.document(row, column)):
            yield part
    if limit.most is not None:
        yield b',"left_out":' + exact_json.encode(limit.left_out)
    yield b"," + await runs.fields(row, large)
