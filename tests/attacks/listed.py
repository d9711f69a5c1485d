"""Attacks that once stopped all partitions: commands that grow, days of long ago, numbers that
Postgres refuses, errors that take long to classify.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.large_records import MIB
from tests.orders import Order, Orders, replaced

_LONG_AGO = datetime(1980, 1, 1, tzinfo=UTC)

# By name, the sizes of the records of one compressed batch.
UNPACKED = {
    "35 kB that unpack to 1,100 MiB": [1100 * MIB],
    "10 kB that unpack to 300 MiB": [300 * MIB],
    "a batch of more than 1 GiB": [900 * MIB, 200 * MIB, 1 * MIB],
    "twenty records of 23 MiB": [23 * MIB] * 20,
}


def _pins(count: int) -> Order:
    run = Orders()
    return run.create(run.node("n", inputs={format(number, "x"): 1 for number in range(count)}))


def _on_days_of_long_ago() -> list[Order]:
    days = (_LONG_AGO + timedelta(days=number) for number in range(3_000))
    return [
        replaced(Orders().create(), at=day.isoformat())._replace(
            timestamp=int(day.timestamp() * 1000)
        )
        for day in days
    ]


def _with_numbers_out_of_range() -> list[Order]:
    run = Orders()
    stats = ["1e200000" if number % 100 == 0 else "1" for number in range(4_000)]
    updates = [run.order("graph.update", stats={"number": 0}) for _ in stats]
    return [run.create()] + [
        update._replace(value=(update.value or b"").replace(b":0}", b":%s}" % number.encode()))
        for update, number in zip(updates, stats, strict=True)
    ]


def _failing_in_500_ways() -> list[Order]:
    run = Orders()
    names = [f"step-{number}" for number in range(500)]
    made = [order for name in names for order in (run.give(name), run.move_step(name, "RUNNING"))]
    errors = [f"{number:x} " * 20_000 for number in range(500)]
    failed = [
        run.move_step(name, "FAILED", stats={"error": error})
        for name, error in zip(names, errors, strict=True)
    ]
    return [run.create(), *made, *failed]


RECORDS: dict[str, Callable[[], list[Order]]] = {
    "100,000 pins": lambda: [_pins(100_000)],
    "four times 840,000 pins": lambda: [_pins(840_000) for _ in range(4)],
    "fifty times as many pins as are legal": lambda: [_pins(1_000) for _ in range(50)],
    "3,000 days of long ago": _on_days_of_long_ago,
    "1 % of numbers out of range": _with_numbers_out_of_range,
    "500 errors of 100 kB": _failing_in_500_ways,
}


def records(name: str) -> list[Order]:
    """The records of that attack."""
    return RECORDS[name]()
