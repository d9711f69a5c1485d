"""Records of every bad kind: their bytes, and the reason that must follow.

A case makes the orders of one run; the last of them is the one it is about, and those before it
bring the run to where it has to be.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS
from tests.orders import Order, Orders, replaced

Make = Callable[[Orders], list[Order]]
MIB = 1024 * 1024
UNKNOWN = "01900000-0000-7000-8000-0000000000ff"


class Case(NamedTuple):
    expected: str  # a reason, or "applied"
    make: Make


# ---- constructors ------------------------------------------------------------------------


def alone(value: bytes | None) -> Make:
    return lambda orders: [orders.raw(value)]


def stats(json_text: str | bytes) -> Make:
    """A run with `json_text` as its stats, in any form."""
    text = json_text.encode() if isinstance(json_text, str) else json_text

    def make(orders: Orders) -> list[Order]:
        update = orders.order("graph.update", stats="@")
        return [orders.create(), orders.raw((update.value or b"").replace(b'"@"', text))]

    return make


def update(**fields: Any) -> Make:
    return lambda orders: [orders.create(), orders.order("graph.update", **{"stats": {}} | fields)]


def command(type_: str, **fields: Any) -> Make:
    return lambda orders: [orders.create(), orders.order(type_, **fields)]


def create(**fields: Any) -> Make:
    return lambda orders: [orders.create(**fields)]


def after(*before: Callable[[Orders], Order], last: Callable[[Orders], Order]) -> Make:
    return lambda orders: [orders.create(), *(one(orders) for one in before), last(orders)]


def under(key: Callable[[Orders], bytes | None]) -> Make:
    """A good command under another key, on the run's partition."""

    def make(orders: Orders) -> list[Order]:
        created = orders.create()
        partition = partition_of(created.key or b"", COMMANDS.partitions)
        return [created, orders.start()._replace(key=key(orders), partition=partition)]

    return make


def elsewhere(last: Callable[[Orders], Order]) -> Make:
    """A command from a partition that the run does not belong to."""

    def make(orders: Orders) -> list[Order]:
        created = orders.create()
        home = partition_of(created.key or b"", COMMANDS.partitions)
        return [created, last(orders)._replace(partition=(home + 1) % COMMANDS.partitions)]

    return make


def starting(orders: Orders, count: int, **fields: Any) -> list[dict[str, Any]]:
    return [orders.node(f"n{number}", **fields) for number in range(count)]


def pins(count: int) -> dict[str, int]:
    return {format(number, "x"): 1 for number in range(count)}


def nested(levels: int) -> str:
    """JSON which, as the stats of a command, makes that many levels with it."""
    return '{"a":' * (levels - 1) + "1" + "}" * (levels - 1)


# ---- dead letters --------------------------------------------------------------------------

_LARGE = {
    "one byte too many": Case("too_large", alone(b"x" * (8 * MIB + 1))),
    "10 MB": Case("too_large", alone(b'{"type":"' + b"x" * 10_000_000 + b'"}')),
    "too large and a type of 8 MiB": Case(
        "unknown_type", alone(b'{"type":"' + b"x" * (8 * MIB - 11) + b'"}')
    ),
    "a status of 8 MB": Case("invalid_field", update(status="x" * 8_000_000)),
    "a field name of 8 MB": Case(
        "invalid_field", create(starting_nodes=[{"inputs": {"x" * 8_000_000: 1}}])
    ),
}
_DEEP = {
    f"{levels} levels": Case("too_deep", stats(nested(levels)))
    for levels in (129, 500, 5_000, 100_000)
} | {
    "100,000 levels that never close": Case("too_deep", alone(b"[" * 100_000)),
    "too deep for what is no JSON": Case("too_deep", alone(b"x" + b"[{" * 100)),
}
_NOT_JSON = {
    "nothing": b"",
    "a tombstone": None,
    "text": b"hello",
    "half an object": b'{"type": "graph.start"',
    "two objects": b"{}{}",
    "a trailing comma": b'{"type": "graph.start",}',
    "single quotes": b"{'type': 'graph.start'}",
    "a byte order mark": b'\xef\xbb\xbf{"type": "graph.start"}',
    "UTF-16": '{"type": "graph.start"}'.encode("utf-16"),
    "binary": bytes(range(256)),
    "only spaces": b"   ",
}
_NOT_JSON_STATS: Mapping[str, str | bytes] = {
    "NaN": '{"a": NaN}',
    "Infinity": '{"a": -Infinity}',
    "a lone surrogate": '{"a": "\\ud800"}',
    "a lone surrogate in a key": '{"\\udc00": 1}',
    "surrogates in the wrong order": '{"a": "\\udc00\\ud800"}',
    "a raw NUL": b'{"a": "x\x00y"}',
    "a raw line break in a string": b'{"a": "x\ny"}',
    "invalid UTF-8": b'{"a": "\xff"}',
    "overlong UTF-8": b'{"a": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "a leading zero": '{"a": 01}',
    "hexadecimal": '{"a": 0x10}',
    "an unknown escape": '{"a": "\\x"}',
}
_NO_OBJECT = {"a list": b"[]", "a string": b'"graph.start"', "a number": b"1", "null": b"null"}
_INVALID_UPDATES: Mapping[str, dict[str, Any]] = {
    "no UUID": {"id": "1"},
    "a UUID in capitals": {"id": UNKNOWN.upper()},
    "a UUID in braces": {"id": "{" + UNKNOWN + "}"},
    "a UUID without hyphens": {"id": UNKNOWN.replace("-", "")},
    "a UUID with a line break": {"id": UNKNOWN + "\n"},
    "no time": {"at": ""},
    "a time without offset": {"at": "2026-03-01T06:30:00"},
    "24:00": {"at": "2026-03-01T24:00:00Z"},
    "a leap second": {"at": "2026-03-01T06:30:60Z"},
    "+25:00": {"at": "2026-03-01T06:30:00+25:00"},
    "an epoch number": {"at": 1_772_346_600},
    "an epoch number as text": {"at": "1772346600"},
    "30 February": {"at": "2026-02-30T06:30:00Z"},
    "the year 0": {"at": "0000-01-01T00:00:00Z"},
    "before the year 1": {"at": "0001-01-01T00:00:00+01:00"},
    "after the year 9999": {"at": "9999-12-31T23:59:59-01:00"},
    "a fraction of ten digits": {"at": "2026-03-01T06:30:00.1234567890Z"},
    "a time with a line break": {"at": "2026-03-01T06:30:00Z\n"},
    "a space for the T": {"at": "2026-03-01 06:30:00Z"},
    "Arabic digits": {"at": "٢٠٢٦-03-01T06:30:00Z"},
    "no owner": {"user_id": None},
    "an empty owner": {"user_id": ""},
    "an owner with a space": {"user_id": "a b"},
    "an owner with a NUL": {"user_id": "a\x00"},
    "an owner of 129 characters": {"user_id": "a" * 129},
    "a reply channel with a star": {"reply_to": "*"},
    "a version as text": {"v": "1"},
    "a version with a fraction": {"v": 1.5},
    "an unknown status": {"status": "PAUSED"},
    "a status in small letters": {"status": "running"},
    "stats that are a list": {"stats": []},
    "stats that are text": {"stats": "{}"},
    "stats that are a number": {"stats": 0},
}
_INVALID: dict[str, Make] = {
    "no id": lambda orders: [orders.raw(b'{"type": "graph.start"}')],
    "no nodes": lambda o: [o.order("graph.create", graph_id="g", graph_version=1)],
    "version 0": create(graph_version=0),
    "version 2**31": create(graph_version=2**31),
    "a version that is text": create(graph_version="1"),
    "a version that is true": create(graph_version=True),
    "a graph with a quote": create(graph_id="'; drop table graph_execution; --"),
    "inputs that are a list": create(inputs=[1]),
    "masks that are text": create(nodes_input_masks="x"),
    "credentials that are a number": create(credential_inputs=1),
    "a preset with a slash": create(preset_id="a/b"),
    "attributes that are a list": create(attributes=["a"]),
    "17 attributes": create(attributes={f"a{number}": "" for number in range(17)}),
    "an attribute with a blank in its key": create(attributes={"a b": "c"}),
    "an attribute without a key": create(attributes={"": "c"}),
    "an attribute with a control character in its key": create(attributes={"a\x00": "c"}),
    "a number as attribute": create(attributes={"a": 1}),
    "null as attribute": create(attributes={"a": None}),
    "an attribute of 257 characters": create(attributes={"a": "é" * 257}),
    "an attribute of 257 characters, one of them removed": create(
        attributes={"a": "x" * 256 + "\x00"}
    ),
    "a parent that is no UUID": create(parent_graph_exec_id="x"),
    "dry_run as text": create(dry_run="yes"),
    "nodes that are an object": create(starting_nodes={}),
    "a node that is text": create(starting_nodes=["n"]),
    "a node without a block": create(starting_nodes=[{"node_id": "n", "inputs": {}}]),
    "a node with an empty pin": lambda o: [o.create(o.node("n", inputs={"": 1}))],
    "a node whose pin is a NUL": lambda o: [o.create(o.node("n", inputs={"\x00": 1}))],
    "a pin of 513 characters": after(last=lambda o: o.give("n", pin="x" * 513)),
    "a pin of 10,000 characters": after(last=lambda o: o.emit("n", pin="x" * 10_000)),
    "an empty pin": after(last=lambda o: o.give("n", pin="")),
    "a pin that is only controls": after(last=lambda o: o.give("n", pin="\x00\x01")),
    "no value": after(last=lambda o: o.order("node.output", node_exec_id=UNKNOWN, output_name="o")),
    "a key of 513 characters": lambda o: [o.keep("x" * 513)],
    "no steps": command("node.update_many", node_exec_ids=[], status="RUNNING"),
    "1,001 steps": command("node.update_many", node_exec_ids=[UNKNOWN] * 1001, status="RUNNING"),
    "1,001 starting nodes": lambda o: [o.create(*starting(o, 1001))],
    "a node of 1,001 pins": lambda o: [o.create(o.node("n", inputs=pins(1001)))],
    "2,001 entries": lambda o: [o.create(*starting(o, 2, inputs=pins(999)))],
    "800,000 pins": lambda o: [o.create(o.node("n", inputs=pins(800_000)))],
    "1,000,001 values": lambda o: [o.keep(data=[1] * 1_000_001)],
    "1,000,001 lists, one in the other or beside it": lambda o: [
        o.keep(data=[[[[[]]]]] * 200_001),
    ],
    "500,001 names": lambda o: [o.keep(data={f"{number:x}": 1 for number in range(500_001)})],
    "stats of more than 4 MiB over all steps": lambda o: [
        o.create(),
        o.move_steps(["n"] * 1000, "RUNNING", stats={"a": "x" * (4 * MIB // 1000 - 7)}),
    ],
    "sharing without a hash": command("graph.share", is_shared=True),
    "a hash that is too short": command(
        "graph.share",
        is_shared=True,
        share_token_hash="ab",  # noqa: S106 - no password
    ),
    "hard as text": command("graph.delete", hard="true"),
}
_UNSTORABLE = {
    "131,073 digits": '{"a": 1e131072}',
    "16,384 fraction digits": '{"a": 1.0e-16383}',
    "a zero of 16,384 fraction digits": '{"a": 0e-16384}',
    "a number that a later one replaces": '{"a": 1e131072, "a": 1}',
    "numbers that grow to 1 GiB": f'{{"a": [{"1e131071," * 8_200}1]}}',
    "small numbers that grow to 100 MB": f'{{"a": [{"1e-119," * 850_000}1]}}',
    "17,000 fraction digits": f'{{"a": 0.{"1" * 17_000}}}',
    "1e200000": '{"a": 1e200000}',
    "an exponent of 20 digits": f'{{"a": 1e{"9" * 20}}}',
    "-1e-20000": '{"a": [{"b": -1e-20000}]}',
    "an integer of 140,000 digits": f'{{"a": {"1" * 140_000}}}',
}
DEAD: dict[str, Case] = {
    **_LARGE,
    **_DEEP,
    **{name: Case("not_json", alone(value)) for name, value in _NOT_JSON.items()},
    **{name: Case("not_json", stats(text)) for name, text in _NOT_JSON_STATS.items()},
    **{name: Case("not_an_object", alone(value)) for name, value in _NO_OBJECT.items()},
    "version 2": Case("unsupported_version", update(v=2)),
    "version -1 of an unknown type": Case("unsupported_version", update(v=-1, type="x")),
    "a version of 30 digits": Case("unsupported_version", update(v=10**30)),
    "an unknown type": Case("unknown_type", update(type="graph.explode")),
    "an unknown type without anything else": Case("unknown_type", alone(b'{"type": "x"}')),
    "no type": Case("unknown_type", alone(b"{}")),
    "a type that is a list": Case("unknown_type", update(type=["graph.update"])),
    "a type in capitals": Case("unknown_type", update(type="GRAPH.UPDATE")),
    "a type with a NUL": Case("unknown_type", update(type="graph\x00update")),
    **{name: Case("invalid_field", update(**fields)) for name, fields in _INVALID_UPDATES.items()},
    **{name: Case("invalid_field", make) for name, make in _INVALID.items()},
    "an invalid field under a wrong key": Case(
        "invalid_field",
        lambda o: [replaced(o.start(), at="now")._replace(key=b"x")],
    ),
    "neither key nor value": Case("not_json", lambda _: [Order(None, None, partition=3)]),
    "no key": Case("key_mismatch", under(lambda _: None)),
    "an empty key": Case("key_mismatch", under(lambda _: b"")),
    "a binary key": Case("key_mismatch", under(lambda _: b"\xff\x00")),
    "another run's key": Case("key_mismatch", under(lambda _: UNKNOWN.encode())),
    "the key in capitals": Case("key_mismatch", under(lambda o: o.run_id.upper().encode())),
    "a key with a space": Case("key_mismatch", under(lambda o: o.run_id.encode() + b" ")),
    "a key-value under a run": Case(
        "key_mismatch", lambda o: [o.create(), o.keep()._replace(key=o.run_id.encode())]
    ),
    "a foreign partition": Case("wrong_partition", elsewhere(Orders.start)),
    "a foreign partition and owner": Case(
        "wrong_partition", elsewhere(lambda o: o.start(user_id="eve"))
    ),
    "a second creation on a foreign partition": Case("wrong_partition", elsewhere(Orders.create)),
    **{name: Case("not_storable", stats(text)) for name, text in _UNSTORABLE.items()},
    "an output that is not storable": Case(
        "not_storable", lambda o: [o.create(), o.give("n"), huge(o.emit("n", data="@"))]
    ),
    "an input that is not storable": Case(
        "not_storable", lambda o: [o.create(), huge(o.give("n", data="@"))]
    ),
    "a creation that is not storable": Case(
        "not_storable", lambda o: [huge(o.create(inputs={"a": "@"}))]
    ),
    "a key-value that is not storable": Case("not_storable", lambda o: [huge(o.keep(data="@"))]),
    "a starting input that is not storable": Case(
        "not_storable", lambda o: [huge(o.create(o.node("n", inputs={"a": "@"})))]
    ),
    "a number that is not storable on a foreign partition": Case(
        "not_storable", elsewhere(lambda o: huge(o.order("graph.update", stats={"a": "@"})))
    ),
    "a number that is not storable for an unknown run": Case(
        "not_storable", lambda o: [huge(o.order("graph.update", stats={"a": "@"}))]
    ),
    "a number that is not storable under a wrong key": Case(
        "key_mismatch",
        lambda o: [huge(o.order("graph.update", stats={"a": "@"}))._replace(key=b"x")],
    ),
}


def huge(order: Order) -> Order:
    """`order` with a number that Postgres cannot hold where it has the text "@"."""
    return order._replace(value=(order.value or b"").replace(b'"@"', b"1e999999"))
