"""Steps with all their values, one after the other."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from execstream.dashboard.streamed.values import ROWS_AT_A_TIME, Limit, Value, inline
from execstream.storage.log.run_states import NO_LIMIT
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.reads.pins import INPUT, INPUTS_AND_OUTPUTS, OUTPUT
from execstream.streams import exact_json

Row = Mapping[str, Any]

# Values are sorted by reference: Postgres reads a large one when its row is fetched. A pin's
# values are together, pins in the order of their first value; of an input the last value counts.
_PINS = f"""
select place, type, name, seq, {inline("data")} as text from (
    select step.place, entry.type, entry.name, entry.seq, entry.data,
           min(entry.seq) over pin as first_seq, max(entry.seq) over pin as last_seq
      from unnest($3::uuid[]) with ordinality as step(id, place)
      join journal entry on entry.node_exec_id = step.id
     where entry.graph_exec_id = $1 and entry.run_day = $2 and entry.seq between $4 and $5
       and entry.type = any($6)
    window pin as (partition by step.place, entry.type, entry.name)
) value
where type <> '{INPUT}' or seq = last_seq
order by place, type, first_seq, seq
"""
_GIVEN = """
select max(seq) from journal
 where graph_exec_id = $1 and run_day = $2 and node_exec_id = $3 and seq <= $4
   and type in ('node.added', 'node.updated') and detail ? 'execution_data'
"""
_ENTRY = "select data from journal where graph_exec_id = $1 and run_day = $2 and seq = $3"

HELD = 1024 * 1024  # bytes of a step's inputs; the others are read when they are sent
_VALUES = {"input_data", "output_data"}


@dataclass(frozen=True, slots=True)
class StepsOfRun:
    """Which steps of which run.

    Attributes:
        ids: the steps in their order.
        rows: a statement, with `args`, of the rows of STEP_COLUMNS in that order, with the
            `block_type` and with JSON columns as by `documents`.
        documents: a statement of a step's `execution_data` or `stats`, which stand for `{}`; $1
            and $2 are run and day, $3 is the step and $4 is `until`.
        begin, until: the first and the last entry that count.
        with_values: whether inputs and outputs are read.
    """

    run_id: UUID
    run_day: date
    ids: Sequence[UUID]
    rows: str
    args: Sequence[object]
    documents: str
    begin: int = 1
    until: int = NO_LIMIT
    with_values: bool = True


@dataclass(slots=True)
class Inputs:
    """The inputs of a step: one document, or pins, each with its last value."""

    document: Value | None = None
    pins: list[tuple[str, Value]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Step:
    """A step: its block's type, its fields without values, and its inputs. `cleared`: the values
    that moderation put in the place of all outputs."""

    place: int
    block_type: str | None
    fields: NodeExecutionResult
    inputs: Inputs
    cleared: Value | None


class StepReader:
    """Reads steps one after the other; the outputs of each before the next one."""

    def __init__(self, connection: asyncpg.Connection, steps: StepsOfRun) -> None:
        self._connection = connection
        self._steps = steps
        self._pins: AsyncIterator[Row] = connection.cursor(
            _PINS,
            *(steps.run_id, steps.run_day, list(steps.ids), steps.begin, steps.until),
            INPUTS_AND_OUTPUTS if steps.with_values else (),
            prefetch=ROWS_AT_A_TIME,
        ).__aiter__()
        self._next: Row | None = None
        self._is_read = False

    async def steps(self) -> AsyncIterator[Step]:
        """Yield all steps."""
        rows = self._connection.cursor(self._steps.rows, *self._steps.args, prefetch=ROWS_AT_A_TIME)
        place = 0
        async for row in rows:
            place += 1
            await self._skip_to(place)
            yield await self._step(place, row)

    async def outputs(self, step: Step) -> AsyncIterator[tuple[str, Value]]:
        """Yield names and values of the outputs of the last step, by pin."""
        async for row in self._take(step.place, OUTPUT):
            yield row["name"], self._value(row, "output_data")

    async def _step(self, place: int, row: Row) -> Step:
        stats = self._document(row, "stats")
        text = None if stats is None else await stats.load(self._connection)
        known = {"execution_data": {}, "stats": text and exact_json.decode(text)}
        fields = NodeExecutionResult.from_db(dict(row) | known)
        inputs = Inputs(self._document(row, "execution_data"), await self._inputs(place))
        if fields.stats is not None and fields.stats.cleared_inputs:
            inputs = Inputs(_made(fields.input_data))
        is_cleared = fields.stats is not None and bool(fields.stats.cleared_outputs)
        cleared = _made(fields.output_data) if is_cleared else None
        return Step(place, row["block_type"], fields, inputs, cleared)

    async def _inputs(self, place: int) -> list[tuple[str, Value]]:
        pins, held = [], 0
        async for row in self._take(place, INPUT):
            value = self._value(row, "input_data")
            held += len(value.text or "")
            pins.append((row["name"], value if held < HELD else replace(value, text=None)))
        return pins

    async def _take(self, place: int, kind: str) -> AsyncIterator[Row]:
        while (row := await self._peek()) is not None and (row["place"], row["type"]) == (
            place,
            kind,
        ):
            self._next = None
            yield row

    async def _skip_to(self, place: int) -> None:
        while (row := await self._peek()) is not None and row["place"] < place:
            self._next = None

    async def _peek(self) -> Row | None:
        if self._next is None and not self._is_read:
            self._next = await anext(self._pins, None)
            self._is_read = self._next is None
        return self._next

    def _value(self, row: Row, name: str) -> Value:
        args = (self._steps.run_id, self._steps.run_day, row["seq"])
        step_id = str(self._steps.ids[row["place"] - 1])
        place = {"node_exec_id": step_id, "field": name, "pin": row["name"], "seq": row["seq"]}
        return Value(row["text"], _ENTRY, args, place)

    def _document(self, row: Row, column: str) -> Value | None:
        if not row[f"has_{column}"]:
            return None
        args = (self._steps.run_id, self._steps.run_day, row["id"], self._steps.until)
        place = {"node_exec_id": str(row["id"]), "field": "input_data", "pin": None, "seq": None}
        return Value(row[column], self._steps.documents.format(column), args, place, _GIVEN)


def _made(value: object) -> Value:
    return Value(exact_json.encode(value).decode(), "", (), {})


async def parts_of_step(
    connection: asyncpg.Connection, reader: StepReader, step: Step, limit: Limit
) -> AsyncIterator[bytes]:
    """Yield the JSON of a NodeExecutionResult."""
    yield b'{"input_data":'
    document = step.inputs.document
    async for part in (
        limit.object(connection, step.inputs.pins)
        if document is None
        else limit.parts(connection, document)
    ):
        yield part
    yield b',"output_data":'
    if step.cleared is not None:
        yield (await step.cleared.load(connection)).encode()
    else:
        async for part in limit.lists(connection, reader.outputs(step)):
            yield part
    yield b"," + exact_json.encode(step.fields.model_dump(exclude=_VALUES))[1:]
