"""Values of pins: rows of the journal, in the order in which they came."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from execstream.storage.log.run_states import NO_LIMIT
from execstream.storage.models.values import BlockInput, CompletedBlockOutput

INPUT = "node.input_added"
OUTPUT = "node.output_added"
INPUTS = (INPUT,)
OUTPUTS = (OUTPUT,)
INPUTS_AND_OUTPUTS = (INPUT, OUTPUT)

ROWS_AT_A_TIME = 1000  # a step may have a hundred thousand values, and one may have megabytes

StepKey = tuple[UUID, UUID]
"""A run and a step of it: the same step id in another run is another step."""


@dataclass(slots=True)
class Pins:
    """The inputs and outputs of a step."""

    inputs: BlockInput = field(default_factory=dict)
    outputs: CompletedBlockOutput = field(default_factory=dict)


# The journal has no index by step. It is read by run, which its primary key holds together;
# the days leave out the partitions that hold other runs only.
GET_PINS = """
select graph_exec_id, node_exec_id, type, name, data from journal
where graph_exec_id = any($1) and run_day = any($2) and seq > $3
  and type = any($4) and node_exec_id = any($5) and seq <= $6
order by graph_exec_id, seq
"""


async def get_pins(
    connection: asyncpg.Connection,
    steps: Sequence[Mapping[str, Any]],
    types: Collection[str],
    until: int = NO_LIMIT,
) -> dict[StepKey, Pins]:
    """The values of `steps` (rows of `node_execution`) up to entry `until`, of the given types.

    Must be called within a transaction.
    """
    pins: dict[StepKey, Pins] = defaultdict(Pins)
    if not steps or not types:
        return pins
    rows = connection.cursor(
        GET_PINS,
        {step["graph_exec_id"] for step in steps},
        {step["run_day"] for step in steps},
        min(step["added_seq"] for step in steps),
        types,
        [step["id"] for step in steps],
        until,
        prefetch=ROWS_AT_A_TIME,
    )
    async for run_id, step_id, entry_type, name, data in rows:
        of_step = pins[run_id, step_id]
        if entry_type == INPUT:
            of_step.inputs[name] = data
        else:
            of_step.outputs.setdefault(name, []).append(data)
    return pins
