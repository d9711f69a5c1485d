"""Lives of a run, random ones among them, as commands and the events they become."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from msgspec import UNSET, Raw

from execstream.streams.commands import (
    AddNodeInput,
    AddNodeOutput,
    CreateGraph,
    DeleteGraph,
    RunCommand,
    ShareGraph,
    StartGraph,
    StartingNode,
    UpdateGraph,
    UpdateNode,
)
from execstream.streams.events import Event, decode_event, encode_event, run_event
from execstream.streams.fold import evolve, new_run
from execstream.streams.rules import decide
from execstream.streams.state import Run
from execstream.streams.statuses import ExecutionStatus

DAWN = datetime.fromisoformat("2026-03-01T06:30:00+00:00")
RUN_ID = str(UUID(int=7))
# The catalogue: the kinds of blocks that the bridge knows. "plain" is not among them.
BLOCK_TYPES = {"in": "INPUT", "out": "OUTPUT", "hook": "WEBHOOK", "manual": "WEBHOOK_MANUAL"}
BLOCKS = (*BLOCK_TYPES, "plain")
STEP_IDS = [str(UUID(int=100 + number)) for number in range(5)]
PINS = ("name", "value", "payload", "x")

# As text, because only text keeps 1.0, 1.00 and 1e0 apart.
VALUES = [
    Raw(text.encode())
    for text in (
        '"a"',
        '"b"',
        '"naïve\\n"',
        '"\\u00e9"',
        "null",
        "true",
        "1.50",
        "1e2",
        "-0",
        "12345678901234567890123",
        "[]",
        "{}",
        '{"k": [1, {"z": 2.0}]}',
    )
]
DOCUMENTS = [
    UNSET,
    *map(Raw, (b"{}", b'{"name":"a","value":1.0}', b'{"payload":[2]}', b'{"name":7,"x":null}')),
]
RUN_STATS = [
    UNSET,
    Raw(b"{}"),
    Raw(b'{"walltime":1.5,"nodes_cputime":2.25,"node_count":3,"cost":12,"error":"no"}'),
    Raw(b'{"cputime":0.5,"correctness_score":0.75,"activity_status":"fine","mine":[1]}'),
    Raw(b'{"cost":"a lot"}'),
]
STEP_STATS = [
    UNSET,
    Raw(b'{"walltime":2}'),
    Raw(b'{"cleared_inputs":{"value":["no","never"]},"cost":1}'),
    Raw(b'{"cleared_outputs":{"x":["gone"]}}'),
]
STATUSES = list(ExecutionStatus)
NODES = ("node", "other")

# Each draw is a handful of numbers, which hypothesis makes, and makes simpler, quickly.
numbers = st.integers(0, 1_000)
draws = st.tuples(st.integers(0, 60), numbers, numbers, numbers, numbers, numbers)


def pick(choices: Sequence[Any], number: int) -> Any:
    return choices[number % len(choices)]


def common(seconds: int = 0, number: int = 0) -> dict[str, Any]:
    """The fields of every command."""
    at = (DAWN + timedelta(seconds=seconds)).isoformat()
    about = {"user_id": "ada", "graph_exec_id": RUN_ID, "at": at}
    return about | {"id": str(UUID(int=10_000 + number))}


def creation(**fields: Any) -> CreateGraph:
    about: dict[str, Any] = {"graph_id": "graph", "graph_version": 3, "starting_nodes": []}
    return CreateGraph(**common() | about | fields)


@st.composite
def lives(draw: st.DrawFn) -> list[RunCommand]:
    """The commands of a run's life, of which the rules will refuse many."""
    first = draw(st.lists(draws, max_size=3))
    length = draw(st.integers(0, 60))
    later = draw(st.lists(draws, min_size=length, max_size=length))
    return [_creation(first), *(_command(n, drawn) for n, drawn in enumerate(later, start=1))]


def _creation(drawn: list[tuple[int, ...]]) -> CreateGraph:
    nodes = [
        StartingNode(
            node_id=pick(NODES, node),
            block_id=pick(BLOCKS, block),
            node_exec_id=STEP_IDS[index],
            inputs={pick(PINS, value + more): pick(VALUES, value * more) for more in range(3)},
        )
        for index, (_, node, block, value, *_) in enumerate(drawn)
    ]
    number = sum(sum(numbers) for numbers in drawn)
    return creation(
        starting_nodes=nodes,
        inputs=pick(DOCUMENTS, number),
        credential_inputs=pick(DOCUMENTS, number // 2),
        nodes_input_masks=pick(DOCUMENTS, number // 3),
        preset_id=pick((None, "preset"), number),
        attributes=pick((UNSET, Raw(b"{}"), Raw(b'{"a":"1"}')), number // 5),
    )


def _command(number: int, drawn: tuple[int, ...]) -> RunCommand:
    seconds, kind, step, pin, value, other = drawn
    base = common(seconds, number)
    if kind % 10 > 6:
        return _of_the_run(base, kind // 10, value, other)
    step_id, name, data = pick(STEP_IDS, step), pick(PINS, pin), pick(VALUES, value)
    if kind % 10 > 4:
        return AddNodeInput(
            **base,
            node_id=pick(NODES, other),
            block_id=pick(BLOCKS, step),
            input_name=name,
            input_data=data,
            new_node_exec_id=step_id,
        )
    if kind % 10 == 4:
        return AddNodeOutput(**base, node_exec_id=step_id, output_name=name, output_data=data)
    return UpdateNode(
        **base,
        node_exec_id=step_id,
        status=pick(STATUSES, other),
        execution_data=pick(DOCUMENTS, pin),
        stats=pick(STEP_STATS, value),
    )


def _of_the_run(base: dict[str, Any], kind: int, value: int, other: int) -> RunCommand:
    if kind % 30 == 29:
        return DeleteGraph(**base, hard=value % 2 == 0)
    if kind % 5 == 4:
        return ShareGraph(**base, is_shared=value % 2 == 0, share_token_hash="a" * 64)
    if kind % 5 == 3:
        return StartGraph(**base)
    status = pick([None, *STATUSES], other)
    return UpdateGraph(**base, status=status, stats=pick(RUN_STATS, value))


def events_of(commands: Iterable[RunCommand], partition: int = 0) -> list[Event]:
    """The events of one run's commands, in the form in which they travel."""
    return [decode_event(encode_event(event)) for event in _told(commands, partition)]


def _told(commands: Iterable[RunCommand], partition: int) -> Iterator[Event]:
    run: Run | None = None
    for offset, command in enumerate(commands):
        entries = decide(run, command)
        if not isinstance(entries, list):
            continue
        for index, entry in enumerate(entries):
            run = run or new_run(command.graph_exec_id, entry, partition)
            evolve(run, entry)
            yield run_event(run, entry, (partition, offset, index))
