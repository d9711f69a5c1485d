"""Whatever is sent, in whatever order: fold, tables, events and the reference agree.

Each example is a few dozen independent runs with commands that are interleaved and cut into
batches, with duplicates, strangers, foreign partitions, commands before the creation and after the
end. `HYPOTHESIS_PROFILE=long` tries many more.
"""

from collections.abc import AsyncIterator
from itertools import chain, zip_longest
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.devstack import Addresses
from execstream.storage.log.events import events_after
from execstream.storage.log.run_states import load_runs
from execstream.streams.state import Run
from execstream.streams.statuses import ExecutionStatus, is_allowed
from execstream.workload.reference import read_event, read_json
from tests.agents.applying import Desk, desk
from tests.comparing import assert_events_equal, assert_rows_equal, kept
from tests.exploring import exploring
from tests.orders import Order, Orders, replaced

RUNS = 25  # per example

NODES = ("a", "b")
PINS = ("in", "out")

Act = tuple[str, int, ExecutionStatus, int]

# Weighted so that most of the possible acts occur.
KINDS = (
    *("step_goes_on",) * 24,
    *("run_goes_on",) * 8,
    *("move_step", "move_step", "move", "start", "start"),
    *("give", "give_to", "give_to", "give_to", "emit", "emit", "move_steps", "move_steps") * 2,
    *("stats", "share", "keep", "keep", "again", "again", "stranger", "elsewhere", "bad"),
    *("create", "delete", "erase"),
)
acts = st.tuples(
    st.sampled_from(KINDS),
    st.integers(0, 1),
    st.sampled_from(ExecutionStatus),
    st.integers(0, 5),
)
sequences = st.tuples(st.integers(0, 1), st.lists(acts, min_size=8, max_size=16))


class Plot:
    """Turns acts into the orders of one run; guesses the states of its steps, to send allowed
    commands.
    """

    def __init__(self, home: int) -> None:
        self.orders = Orders()
        self.home = home
        self.made: list[Order] = []
        self._guess: dict[str, ExecutionStatus] = {}

    def deliver(self, early: int, some: list[Act]) -> list[Order]:
        """`some` acts; the run is created after `early` of them."""
        for number, (act, node, status, detail) in enumerate(some):
            if number == early:
                names = NODES[: 1 + detail % 2]
                starting = [self.orders.node(name, inputs={"in": 0}) for name in names]
                self.made.append(self.orders.create(*starting, inputs={"x": detail}))
                self._guess = dict.fromkeys(names, ExecutionStatus.QUEUED)
            self.made.append(getattr(self, act)(NODES[node], status, detail))
        return [
            one._replace(partition=self.home if one.partition is None else 1 - self.home)
            for one in self.made
        ]

    def create(self, name: str, _: str, detail: int) -> Order:
        return self.orders.create(
            self.orders.node(name), preset_id="p", dry_run=detail > 2, attributes={"a": f"{detail}"}
        )

    def give(self, name: str, _: str, detail: int) -> Order:
        new = self.orders.named(name if detail < 3 else f"{name}{detail}")
        return self.orders.give(name, PINS[detail % 2], new_node_exec_id=new)

    def give_to(self, name: str, _: str, detail: int) -> Order:
        step_id = self.orders.named(NODES[detail // 3])
        return self.orders.give(name, PINS[detail % 2], node_exec_id=step_id)

    def emit(self, name: str, _: str, detail: int) -> Order:
        return self.orders.emit(name, data={"n": detail})

    def move_step(self, name: str, status: str, detail: int) -> Order:
        return self.orders.move_step(name, status, **_stats(detail))

    def move_steps(self, name: str, status: str, detail: int) -> Order:
        names = [name, NODES[detail % 2], "unknown", name]
        return self.orders.move_steps(names, status, **_stats(detail))

    def step_goes_on(self, name: str, _: str, detail: int) -> Order:
        return self.orders.move_step(name, self._next(name, detail), **_stats(detail))

    def run_goes_on(self, _: str, __: str, detail: int) -> Order:
        return self.orders.move(self._next("run", detail), **_stats(detail))

    def _next(self, name: str, detail: int) -> ExecutionStatus:
        was = self._guess.get(name, ExecutionStatus.INCOMPLETE)
        nexts = [to for to in ExecutionStatus if is_allowed(was, to)] or [was]
        self._guess[name] = nexts[detail % len(nexts)]
        return self._guess[name]

    def start(self, *_: object) -> Order:
        return self.orders.start()

    def move(self, _: str, status: str, detail: int) -> Order:
        return self.orders.move(status, **_stats(detail))

    def stats(self, _: str, __: str, detail: int) -> Order:
        return self.orders.order("graph.update", **_stats(detail))

    def share(self, _: str, __: str, detail: int) -> Order:
        token_hash = f"{detail}" * 64
        return self.orders.order("graph.share", is_shared=detail > 1, share_token_hash=token_hash)

    def keep(self, _: str, __: str, detail: int) -> Order:
        at = f"2026-03-01T10:00:0{detail}Z"
        return self.orders.keep("k", detail, user_id=self.orders.run_id, at=at)

    def delete(self, *_: object) -> Order:
        return self.orders.order("graph.delete")

    def erase(self, *_: object) -> Order:
        return self.orders.order("graph.delete", hard=True)

    def again(self, _: str, __: str, detail: int) -> Order:
        return self.made[-1 - detail % len(self.made)] if self.made else self.start()

    def stranger(self, _: str, __: str, detail: int) -> Order:
        understood = [one for one in self.made if one.value and one.value[-1:] == b"}"]
        last = understood[-1 - detail % len(understood)] if understood else self.start()
        return replaced(last, user_id="eve")

    def elsewhere(self, name: str, status: str, detail: int) -> Order:
        return self.again(name, status, detail)._replace(partition=-1)

    def bad(self, _: str, __: str, detail: int) -> Order:
        return self.orders.raw(b"{" * detail)


def _stats(detail: int) -> dict[str, Any]:
    return {} if detail < 2 else {"stats": {"cost": detail, "error": None} if detail < 5 else {}}


@pytest.fixture(scope="module")
async def place(stack: Addresses) -> AsyncIterator[Desk]:
    async with desk(stack) as own:
        yield own


@pytest.mark.slow
@exploring(short=80, long=1_500)
@given(
    some=st.lists(sequences, min_size=RUNS, max_size=RUNS),
    cuts=st.lists(st.integers(1, 150), min_size=1, max_size=5),
    forgets=st.booleans(),
)
async def test_everything_agrees(
    place: Desk, some: list[tuple[int, list[Act]]], cuts: list[int], forgets: bool
) -> None:
    """Rows, events and counts are the reference's; runs read back are those folded; events
    republished after a crash equal those that were published.
    """
    await place.clear()
    begin = {number: (end, -1) for number, end in place.ends.items()}
    runs = [Plot(index % 2).deliver(*one) for index, one in enumerate(some)]
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
        run_ids = list(place.reference.runs)
        for run_id, run in (await load_runs(connection, run_ids, with_stats=True)).items():
            live = place.applier._cache.get(run_id)
            assert live is None or _facts(live) == _facts(run)
        for number, after in begin.items():
            page = await events_after(connection, number, after, place.ends[number])
            _assert_said_again(place, number, [one.value for one in page.events])


def _facts(run: Run) -> dict[str, Any]:
    """Everything a rule may ask about; how much room it takes depends on how JSON is spaced."""
    facts = msgspec.to_builtins(run)
    for step in facts["steps"].values():
        step["stats"] = step["stats"] and read_json(run.steps[step["id"]].stats or b"")
    del facts["extra"]
    return {name: value for name, value in facts.items() if not name.startswith("_")}


def _assert_said_again(place: Desk, number: int, again: list[bytes]) -> None:
    """Assert that everything is republished, except for rows erased by hard deletions."""
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
