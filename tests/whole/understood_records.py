"""Records that are understood: those that the rules refuse, and strange ones that are good.

Made like `bad_records`: the last order of a case is the one it is about.
"""

from collections.abc import Callable

from tests.orders import Order, Orders
from tests.whole.bad_records import (
    MIB,
    UNKNOWN,
    Case,
    after,
    command,
    create,
    huge,
    nested,
    pins,
    starting,
    stats,
    update,
)


def given(orders: Orders) -> Order:
    return orders.give("n")


def deleted(orders: Orders) -> Order:
    return orders.order("graph.delete")


def erased(orders: Orders) -> Order:
    return orders.order("graph.delete", hard=True)


def known(orders: Orders) -> Order:
    """A command with the id `named("known")`."""
    return orders.order("graph.update", stats={}, id=orders.named("known"))


def _kept_at(hour: int) -> Callable[[Orders], Order]:
    return lambda orders: orders.keep(f"k{orders.run_id}", at=f"2026-03-01T{hour:02}:00:00Z")


REFUSED: dict[str, Case] = {
    "an unknown run": Case("unknown_graph_execution", lambda o: [o.start()]),
    "an unknown run and step": Case("unknown_graph_execution", lambda o: [o.emit("n")]),
    "an unknown run and no target": Case(
        "unknown_graph_execution", lambda o: [o.move("INCOMPLETE")]
    ),
    "a foreign owner": Case("wrong_owner", after(last=lambda o: o.start(user_id="eve"))),
    "a foreign owner of a known command": Case(
        "wrong_owner", after(known, last=lambda o: o.start(user_id="eve", id=o.named("known")))
    ),
    "a foreign owner of a deleted run": Case(
        "wrong_owner", after(deleted, last=lambda o: o.start(user_id="eve"))
    ),
    "a foreign owner creates it again": Case(
        "wrong_owner", after(last=lambda o: o.create(user_id="eve"))
    ),
    "created twice": Case("already_exists", after(last=Orders.create)),
    "created again after deletion": Case("already_exists", after(deleted, last=Orders.create)),
    "created again after erasure": Case("already_exists", after(erased, last=Orders.create)),
    "two starting steps of one id": Case(
        "already_exists", lambda o: [o.create(o.node("n"), o.node("n"))]
    ),
    "deleted": Case("deleted", after(deleted, last=Orders.start)),
    "deleted and no target": Case("deleted", after(deleted, last=lambda o: o.move("INCOMPLETE"))),
    "deleted and an unknown step": Case("deleted", after(deleted, last=lambda o: o.emit("n"))),
    "deleted twice": Case("deleted", after(deleted, last=deleted)),
    "erased": Case("deleted", after(erased, last=Orders.start)),
    "erased twice": Case("deleted", after(erased, last=erased)),
    "a run to INCOMPLETE": Case("not_a_target", after(last=lambda o: o.move("INCOMPLETE"))),
    "an unknown step to INCOMPLETE": Case(
        "not_a_target", after(last=lambda o: o.move_step("n", "INCOMPLETE"))
    ),
    "unknown steps to INCOMPLETE": Case(
        "not_a_target", after(last=lambda o: o.move_steps(["n"], "INCOMPLETE"))
    ),
    "nothing to change": Case("nothing_to_change", command("graph.update")),
    "nulls to change": Case("nothing_to_change", command("graph.update", stats=None, status=None)),
    "an unknown step QUEUED without data": Case(
        "missing_execution_data",
        after(last=lambda o: o.move_step("n", "QUEUED", execution_data=None)),
    ),
    "steps QUEUED": Case(
        "missing_execution_data", after(given, last=lambda o: o.move_steps(["n"], "QUEUED"))
    ),
    "an unknown step": Case(
        "unknown_node_execution", after(last=lambda o: o.move_step("n", "RUNNING"))
    ),
    "unknown steps": Case(
        "unknown_node_execution", after(last=lambda o: o.move_steps(["n", "m"], "RUNNING"))
    ),
    "an output of an unknown step": Case(
        "unknown_node_execution", after(last=lambda o: o.emit("n"))
    ),
    "an input of an unknown step": Case(
        "unknown_node_execution", after(last=lambda o: o.give("n", node_exec_id=UNKNOWN))
    ),
    "an input of another node's step": Case(
        "unknown_node_execution",
        after(given, last=lambda o: o.give("m", node_exec_id=o.named("n"))),
    ),
    "an illegal move of a run": Case(
        "illegal_transition", after(last=lambda o: o.move("COMPLETED"))
    ),
    "a move of a run to itself": Case(
        "illegal_transition", after(Orders.start, last=lambda o: o.move("RUNNING"))
    ),
    "a start of a running run": Case("illegal_transition", after(Orders.start, last=Orders.start)),
    "an illegal move of a step": Case(
        "illegal_transition", after(given, last=lambda o: o.move_step("n", "REVIEW"))
    ),
    "steps of which none may move": Case(
        "illegal_transition", after(given, last=lambda o: o.move_steps(["n", "m"], "COMPLETED"))
    ),
    "an input of a step that is not open": Case(
        "not_open_for_input",
        after(
            given,
            lambda o: o.move_step("n", "RUNNING"),
            last=lambda o: o.give("n", "in", node_exec_id=o.named("n")),
        ),
    ),
    "an input that is there": Case(
        "input_already_there", after(given, last=lambda o: o.give("n", node_exec_id=o.named("n")))
    ),
    "a new step whose id is taken": Case(
        "already_exists", after(given, last=lambda o: o.give("m", new_node_exec_id=o.named("n")))
    ),
    "an older key-value": Case("superseded", lambda o: [_kept_at(9)(o), _kept_at(8)(o)]),
}

# ---- strange, and good ---------------------------------------------------------------------

TRICKY = [
    "'; drop table graph_execution; --",
    "%s $1 {} {0} %(a)s :a ?",
    "<script>alert(1)</script>",
    "\u202eright to left\u202c \u200b zero width \ufeff",
    "\\N\t\r\n\"'`",
    "\u0000\u0001\u001f\u007f controls",
    "💥" * 10,
    "NULL",
    "",
]


def _tricky(orders: Orders) -> list[Order]:
    pins = [(text or "pin")[:512] for text in TRICKY]
    outputs = [orders.emit("n", pin, {text: text}) for pin, text in zip(pins, TRICKY, strict=True)]
    keeps = [orders.keep(text, text, user_id=orders.run_id) for text in TRICKY]
    return [orders.create(inputs=dict.fromkeys(TRICKY, "x")), orders.give("n"), *keeps, *outputs]


STRANGE: dict[str, Case] = {
    name: Case("applied", make)
    for name, make in {
        "tricky text everywhere": _tricky,
        "escaped controls": stats('{"\\u0000a": "\\u0000\\b\\f\\u007f\\\\u0000"}'),
        "128 levels": stats(nested(128)),
        "brackets in a string": stats('{"a": "' + "[{" * 1000 + '"}'),
        "duplicate keys": stats('{"a": 1, "a": 2}'),
        "16,383 fraction digits": stats(f'{{"a": 0.{"1" * 16_383}}}'),
        "a 400-digit integer": stats(f'{{"a": {"7" * 400}}}'),
        "a 5,000-digit integer": stats(f'{{"a": -{"7" * 5_000}}}'),
        "1e400": stats('{"a": 1e400, "b": 1E+2, "c": -0.0, "d": 0.10}'),
        "huge and negative costs": stats(f'{{"cost": -{10**30}, "error": null}}'),
        "1,000 starting nodes": lambda o: [o.create(*starting(o, 1000, inputs={}))],
        "a node of 1,000 pins and 2,000 entries": lambda o: [
            o.create(*starting(o, 1, inputs=pins(1000)), o.node("n", inputs=pins(997)))
        ],
        "stats of 4 MiB over all steps": lambda o: [
            o.create(*starting(o, 1000)),
            o.move_steps(
                [f"n{number}" for number in range(1000)],
                "RUNNING",
                stats={"a": "x" * (4 * MIB // 1000 - 8)},
            ),
        ],
        "unknown fields": update(colour="red", nested={"v": 2, "type": "x"}),
        "an unstorable number in an unknown field": lambda o: [
            o.create(),
            huge(o.order("graph.update", stats={}, colour="@")),
        ],
        "131,072 digits": stats('{"a": 1e131071, "b": -9.9e131071, "c": 0e700000}'),
        "16,383 fraction digits of an exponent": stats('{"a": 1.0e-16382, "b": 0e-16383}'),
        "numbers in text": stats('{"1e999999": "1e999999, \\", 1e999999,"}'),
        "numbers that grow to 1 MiB": stats(f'{{"a": [{"1e131071," * 7}1e131071]}}'),
        "8 MB of small floats": stats(f'{{"a": [{"1.17549435e-38," * 550_000}1]}}'),
        "nanoseconds": update(at="2026-03-01T06:30:00.123456789Z"),
        "null for what is optional": update(status=None, reply_to=None, v=None),
        "null as a value": lambda o: [o.create(), o.give("n", data=None), o.emit("n", data=None)],
        "an offset of 23:59": update(at="2026-03-01t06:30:00.5+23:59"),
        "the first year": create(at="0001-01-01T00:00:01Z"),
        "the last year": create(at="9999-12-31T23:59:59.999998Z"),
        "8 MiB": lambda o: [o.create(), _padded(o.order("graph.update", stats={"a": "@"}))],
        "an empty key of a key-value": lambda o: [o.keep("", user_id=o.run_id)],
        "a name of all characters": create(graph_id="Az09_.:@|-", preset_id="x" * 128),
        "the largest attributes": create(
            attributes={f"{number:x}" + "k" * 127: "é" * 256 for number in range(16)}
        ),
        "attributes that need cleaning": create(attributes={"a": "\x00", "b": "x\x7fy"}),
        "no attributes in an object": create(attributes={}),
        "null as attributes": create(attributes=None),
        "an attribute named twice": lambda o: [
            o.raw((o.create(attributes={"a": "b"}).value or b"").replace(b'"b"', b'1,"a":"c"'))
        ],
    }.items()
}


def _padded(order: Order) -> Order:
    value = order.value or b""
    return order._replace(value=value.replace(b"@", b"x" * (8 * MIB - len(value) + 1)))
