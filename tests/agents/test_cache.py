"""The size of the states of runs, as far as the worker knows."""

import sys
from typing import Any

import msgspec
import pytest

from execstream.agents.apply.state_cache import RunCache
from execstream.streams.decoding import decode
from execstream.streams.fold import fold
from execstream.streams.state import Run
from tests.orders import Order, Orders


def folded(*orders: Order) -> Run:
    run: Run | None = None
    for order in orders:
        command: Any = decode(order.key, order.value)
        result: Any = fold(run, command, 0)
        run = result[0]
    assert run is not None
    return run


def weight(run: Run) -> int:
    cache = RunCache(2**40)
    cache.put(run, 1)
    return cache.bytes


def test_steps_that_were_skipped_count() -> None:
    """Their ids are kept with the outcome of the command, and repeated with it."""
    orders = Orders()
    some = [orders.create(orders.node("n")), orders.start()]
    before = weight(folded(*some))

    run = folded(*some, orders.move_steps(["n", *map(str, range(999))], "RUNNING"))

    skipped = next(one.skipped for one in run.outcomes.values() if one.skipped)
    assert len(skipped) == 999
    size = sys.getsizeof(skipped) + sum(map(sys.getsizeof, skipped))
    assert weight(run) - before == pytest.approx(size, rel=0.3)


def test_stats_of_open_steps_count() -> None:
    """They count as long as they are kept."""
    orders = Orders()
    some = [orders.create(orders.node("n")), orders.start()]
    some += [orders.move_step("n", "RUNNING", stats={"a": "x" * 1_000_000})]
    again = orders.move_step("n", "REVIEW", stats={"a": "x" * 500_000})
    back = orders.move_step("n", "RUNNING")
    last = orders.move_step("n", "COMPLETED")

    assert weight(folded(*some)) == pytest.approx(1_000_000, rel=0.01)
    assert weight(folded(*some, again)) == pytest.approx(500_000, rel=0.02)
    assert weight(folded(*some, again, back)) == pytest.approx(500_000, rel=0.02)
    assert weight(folded(*some, again, back, last)) < 10_000


def test_pins_count() -> None:
    """They count by their length."""
    orders = Orders()
    pins = [f"{number}{'x' * 500}" for number in range(100)]

    run = folded(orders.create(), *(orders.give("n", pin=pin) for pin in pins))

    assert len(next(iter(run.steps.values())).pins) == 100
    assert weight(run) > sum(map(sys.getsizeof, pins))


def test_what_is_erased_weighs_nothing() -> None:
    """But for the tombstone."""
    orders = Orders()
    created = orders.create(orders.node("n"), orders.node("m", inputs={"x" * 500: 1}))
    run = folded(created, orders.order("graph.delete", hard=True))

    assert run.is_erased
    assert run.extra == 0
    assert msgspec.json.encode(run.outcomes)
    assert weight(run) < 2_000
