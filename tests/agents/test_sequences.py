"""Whatever is sent, in whatever order: fold, tables, events and the reference agree.

Each example is a few dozen independent runs whose commands are interleaved and cut into batches,
with duplicates, strangers, foreign partitions, commands before the creation and after the end.
`HYPOTHESIS_PROFILE=long` tries many more.
"""

from collections.abc import AsyncIterator, Callable
from itertools import chain, zip_longest
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack import Addresses
from execstream.reference import read_event, read_json
from storage.leftovers import events_after
from storage.states import load_runs
from streams.state import Run
from streams.statuses import ExecutionStatus
from tests.agents.applying import Desk, desk
from tests.comparing import assert_events_equal, assert_rows_equal, kept
from tests.exploring import exploring
from tests.orders import Order, Orders, replaced

RUNS = 25  # per example

NODES = ("a", "b")
PINS = ("in", "out")
Act = tuple[str, int, str, int]

# Chosen so that most of what can happen does: moves that are allowed, and steps to be moved.
KINDS = (
    *("move_step",) * 8,
    *("give", "give", "give_to", "emit", "move_steps", "move_steps"),
    *("start", "start", "move", "move", "move", "stats", "share", "keep", "keep"),
    *("again", "again", "stranger", "elsewhere", "bad", "create"),
)
ENDS = ("delete", "erase")
STATUSES = (*ExecutionStatus, "RUNNING", "RUNNING", "RUNNING", "COMPLETED", "QUEUED", "REVIEW")

acts = st.tuples(
    st.one_of(*[st.sampled_from(KINDS)] * 9, st.sampled_from(ENDS)),
    st.integers(0, 1),
    st.sampled_from(STATUSES),
    st.integers(0, 5),
)
sequences = st.tuples(st.integers(0, 1), st.lists(acts, min_size=3, max_size=20))


def _orders(orders: Orders, home: int, early: int, some: list[Act]) -> list[Order]:
    """`some` acts as records; the run is created after `early` of them."""
    made: list[Order] = []
    for number, (act, node, status, detail) in enumerate(some):
        if number == early:
            starting = [orders.node(name, inputs={"in": 0}) for name in NODES[: 1 + detail % 2]]
            made.append(orders.create(*starting, inputs={"x": detail}, dry_run=detail == 5))
        made.append(_ACTS[act](orders, made, NODES[node], status, detail))
    return [one._replace(partition=home if one.partition is None else 1 - home) for one in made]


def _again(orders: Orders, made: list[Order], _: str, __: str, detail: int) -> Order:
    return made[-1 - detail % len(made)] if made else orders.start()


def _understood(orders: Orders, made: list[Order], *rest: Any) -> Order:
    return _again(orders, [one for one in made if one.value and one.value[-1:] == b"}"], *rest)


def _stats(detail: int) -> dict[str, Any]:
    return {} if detail < 2 else {"stats": {"cost": detail, "error": None} if detail < 5 else {}}


_ACTS: dict[str, Callable[[Orders, list[Order], str, str, int], Order]] = {
    "create": lambda o, _, name, *__: o.create(o.node(name), preset_id="p"),
    "give": lambda o, _, name, __, detail: o.give(
        name, PINS[detail % 2], new_node_exec_id=o.named(f"{name}{detail // 3 or ''}")
    ),
    "give_to": lambda o, _, name, __, detail: o.give(
        name, PINS[detail % 2], node_exec_id=o.named(NODES[detail // 3])
    ),
    "emit": lambda o, _, name, __, detail: o.emit(name, data={"n": detail}),
    "move_step": lambda o, _, name, status, detail: o.move_step(name, status, **_stats(detail)),
    "move_steps": lambda o, _, name, status, detail: o.move_steps(
        [name, NODES[detail % 2], "unknown", name], status, **_stats(detail)
    ),
    "start": lambda o, *_: o.start(),
    "move": lambda o, _, __, status, detail: o.move(status, **_stats(detail)),
    "stats": lambda o, _, __, ___, detail: o.order("graph.update", **_stats(detail)),
    "share": lambda o, _, __, ___, detail: o.order(
        "graph.share", is_shared=detail > 1, share_token_hash=f"{detail}" * 64
    ),
    "keep": lambda o, _, __, ___, detail: o.keep(
        "k", detail, user_id=o.run_id, at=f"2026-03-01T10:00:0{detail}Z"
    ),
    "delete": lambda o, *_: o.order("graph.delete"),
    "erase": lambda o, _, __, ___, detail: o.order("graph.delete", hard=detail > 2),
    "again": _again,
    "stranger": lambda o, made, *rest: replaced(_understood(o, made, *rest), user_id="eve"),
    "elsewhere": lambda o, made, *rest: _again(o, made, *rest)._replace(partition=-1),
    "bad": lambda o, _, __, ___, detail: o.raw(b"{" * detail),
}


@pytest.fixture(scope="module")
async def place(stack: Addresses) -> AsyncIterator[Desk]:
    async with desk(stack) as own:
        yield own


@exploring(short=90, long=1_500)
@given(
    some=st.lists(sequences, min_size=RUNS, max_size=RUNS),
    cuts=st.lists(st.integers(1, 150), min_size=1, max_size=5),
    forgets=st.booleans(),
)
async def test_everything_agrees(
    place: Desk, some: list[tuple[int, list[Act]]], cuts: list[int], forgets: bool
) -> None:
    """Rows, events and counts are the reference's; runs read back are those folded; what would be
    published again after a crash is what was published."""
    await place.clear()
    begin = {number: (end, -1) for number, end in place.ends.items()}
    runs = [_orders(Orders(), index % 2, *one) for index, one in enumerate(some)]
    mixed = [one for one in chain.from_iterable(zip_longest(*runs)) if one]

    while mixed:
        size = cuts[len(mixed) % len(cuts)]
        await place.apply(*mixed[:size])
        mixed = mixed[size:]
        if forgets:
            place.applier.drop_states()

    await assert_rows_equal(place.db, place.reference)
    assert_events_equal(place.said.events, place.reference.events())
    async with place.db.acquire() as connection:
        for run_id, run in (await load_runs(connection, list(place.reference.runs))).items():
            live = place.applier._cache.get(run_id)
            assert live is None or _facts(live) == _facts(run)
        for number, after in begin.items():
            page = await events_after(connection, number, after, place.ends[number])
            _assert_said_again(place, number, [one.value for one in page])


def _facts(run: Run) -> dict[str, Any]:
    """Everything a rule may ask about."""
    facts = msgspec.to_builtins(run)
    for step in facts["steps"].values():
        step["stats"] = step["stats"] and read_json(run.steps[step["id"]].stats or b"")
    return {name: value for name, value in facts.items() if not name.startswith("_")}


def _assert_said_again(place: Desk, number: int, again: list[bytes]) -> None:
    """Everything, but for what hard deletions erased."""
    erased = {
        event["graph_exec_id"]
        for event in map(read_event, place.said.events[number])
        if event.get("hard")
    }

    def left(values: list[bytes]) -> list[dict[str, Any]]:
        return [
            event
            for event in kept(map(read_event, values))
            if event["type"] in ("command.refused", "kv.changed")
            or event.get("hard")
            or event["graph_exec_id"] not in erased
        ]

    first, second = left(place.said.events[number]), left(again)
    assert first == second
