"""Numbers that Postgres cannot hold, and those that grow too much, are found in the bytes."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.streams.decoding import decode
from execstream.streams.outcomes import Dead, DeadReason
from execstream.streams.storable_numbers import unstorable
from execstream.workload.reference.reading import DeadError, read
from tests.exploring import exploring
from tests.orders import Orders

OUT_OF_RANGE = {
    "sqlstate": "22003",
    "message": "A number has more than 131,072 digits before the decimal point, or 16,383 after it",
}
LIMIT = 8 * 1024 * 1024
MIB = 1024 * 1024


def detail(payload: str, size: int | None = None) -> dict[str, object] | None:
    return unstorable(payload.encode(), len(payload) if size is None else size)


@pytest.mark.parametrize(
    "number",
    [
        *("1e131071", "-1E+131071", "0.001e131074", "9.99e131071", "1" * 131_072),
        *("1e-16383", "1.0e-16382", "0." + "1" * 16_383, "0e-16383", "0e999999"),
        *("1" * 131_072 + "." + "1" * 16_383, "1e00000000000000000005", "1e-0000000000000000001"),
    ],
    ids=lambda number: number[:20],
)
def test_numbers_that_postgres_holds(number: str) -> None:
    """Up to its limits; alone, in an object, and in a list."""
    for payload in (number, f'{{"a": {number}}}', f'[1,\n{number} ,"1e999999"]'):
        assert detail(payload) is None


@pytest.mark.parametrize(
    "number",
    [
        *("1e131072", "-1E+131072", "0.001e131075", "1" * 131_073, "1e" + "9" * 5_000),
        *("1e-16384", "1.0e-16383", "0." + "1" * 16_384, "0." + "0" * 16_384, "0e-16384"),
        *("1." + "1" * 16_300 + "e-99", "1e" + "0" * 5_000 + "131072"),
    ],
    ids=lambda number: number[:20],
)
def test_numbers_that_it_does_not(number: str) -> None:
    """Just beyond its limits, with the detail that a refusal of Postgres' has."""
    for payload in (
        number,
        f'{{"a": {number}}}',
        f'["1\\"", {number}]',
        f'{{"a": {number} , "a": 1}}',
    ):
        assert detail(payload) == OUT_OF_RANGE


def test_the_bound_of_exponents() -> None:
    """1 MiB and four times the command, without signs; one more is too much."""
    size = 1_000
    exponents = [131_071] * 8 + [2_008 + 4 * (size - 500)]
    assert sum(exponents) == MIB + 4 * size
    numbers = ",".join(f"1e{'-' if one < 16_000 else ''}{one}" for one in exponents)

    assert detail(f"[{numbers}]", size) is None
    found = detail(f"[{numbers},1e1]", size)

    sentence = "The exponents of its numbers, without their signs, sum up to more than 1,052,576"
    assert found == {"message": sentence, "limit": 1_052_576}


@pytest.mark.parametrize(("count", "good"), [(13_273, True), (13_274, False)])
def test_short_exponents_count_in_large_commands(count: int, good: bool) -> None:
    """`1e99` takes 100 digits; 99 times the count is compared with 1 MiB and 4 bytes a byte."""
    payload = "[" + ",".join(["1e99"] * count) + "]"
    assert (detail(payload) is None) == good


def test_expanded_size_is_bounded() -> None:
    """No number takes more than its exponent beyond the bytes that it is written with."""
    for number in ("1e131071", "1e-16383", "1.5e300", "-12.25E-20"):
        exponent = abs(int(number.lower().partition("e")[2]))
        assert len(f"{Decimal(number):f}") <= len(number) + exponent


digits = st.text("0123456789", min_size=1, max_size=4)
long_digits = st.sampled_from([1, 16_000, 16_383, 16_384, 131_071, 131_072]).map(lambda n: "7" * n)
exponents = st.integers(-20, 20) | st.sampled_from(
    [100, -100, 16_382, -16_382, -16_383, -16_384, 131_070, 131_071, 131_072, 10**9, 2**30, 10**25]
)
numbers = st.builds(
    lambda sign, whole, fraction, mark, exponent: (
        sign
        + (whole.lstrip("0") or "0")
        + (f".{fraction}" if fraction else "")
        + (f"{mark}{exponent}" if mark else "")
    ),
    st.sampled_from(["", "-"]),
    digits | long_digits,
    st.just("") | digits | long_digits,
    st.sampled_from(["", "e", "E", "e0", "e+"]),
    exponents,
).filter(lambda text: "+-" not in text and "0-" not in text)
texts = st.sampled_from(['"1e999999"', '"\\",1e999999,"', "true", "false", "null", '"é\\\\"', '""'])


@exploring(short=500, long=20_000)
@given(st.lists(numbers | texts, min_size=1, max_size=4), st.booleans())
def test_the_reference_decides_the_same(items: list[str], in_object: bool) -> None:
    """Which shares nothing with it and reads every number."""
    names = ("a", "1e999999", "b", "a")
    stats = (
        "{" + ", ".join(f'"{name}": {item}' for name, item in zip(names, items, strict=False)) + "}"
        if in_object
        else f'{{"a": [{", ".join(items)}]}}'
    )
    order = Orders().order("graph.update", stats="@")
    value = (order.value or b"").replace(b'"@"', stats.encode())

    outcome = decode(order.key, value)

    found = outcome.reason if isinstance(outcome, Dead) else None
    assert found == _reason_of_reference(order.key, value)


def _reason_of_reference(key: bytes | None, value: bytes) -> str | None:
    try:
        read(key, value, LIMIT)
    except DeadError as dead:
        return dead.reason
    return None


def test_numbers_are_found_in_every_payload() -> None:
    """The check covers the payloads of each command, and no other field."""
    orders = Orders()
    step = orders.named("n")
    commands = [
        orders.create(inputs={"a": "@"}),
        orders.create(credential_inputs={"a": "@"}),
        orders.create(nodes_input_masks={"a": "@"}),
        orders.create(orders.node("n", inputs={"b": 1, "a": "@"})),
        orders.order("graph.update", stats={"a": "@"}),
        orders.give("n", data="@"),
        orders.emit("n", data="@"),
        orders.move_step("n", "RUNNING", stats={"a": "@"}),
        orders.move_step("n", "QUEUED", execution_data={"a": "@"}),
        orders.order("node.update_many", node_exec_ids=[step], status="RUNNING", stats={"a": "@"}),
        orders.keep(data="@"),
    ]
    for order in commands:
        value = (order.value or b"").replace(b'"@"', b"1e131072")
        assert value != order.value
        dead = decode(order.key, value)
        assert dead == Dead(DeadReason.NOT_STORABLE, OUT_OF_RANGE)
        assert not isinstance(decode(order.key, value, bounded=False), Dead)
    unread = json.loads(orders.start().value or b"") | {"stats": "@"}
    value = json.dumps(unread).encode().replace(b'"@"', b"1e131072")
    assert not isinstance(decode(orders.start().key, value), Dead)
