"""Answers of any size equal the reads that hold a whole run in memory."""

import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from execstream import reads
from execstream.dashboard.server import Server
from execstream.dashboard.streamed.values import INLINE, SNAPSHOT_VALUE
from execstream.reads import find_past, list_steps_as_of
from execstream.streams import exact_json
from tests.dashboard.sse import Subscription
from tests.orders import Order, Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

USER = "ada-streamed"
LARGE = "ü" * INLINE
VALUES: tuple[Any, ...] = (
    1,
    0.1,
    None,
    "}",
    "",
    [[]],
    {"a": {"b": 1e-7}},
    10**30,
    LARGE,
    {"large": [LARGE]},
)
PINS = ("name", "value", "payload", "out", "__proto__", 'a "pin"')
NODES = "abcdefg"
KINDS = {"in": "INPUT", "out": "OUTPUT", "hook": "WEBHOOK", "plain": "STANDARD"}


@pytest.fixture(scope="module")
async def kinds(place: Installation) -> None:
    """Blocks of the kinds that make up inputs and outputs of runs."""
    for name, kind in KINDS.items():
        await place.db.execute("insert into block values ($1, $1, $2)", f"streamed-{name}", kind)


def lived(seed: int) -> tuple[Orders, list[Order]]:
    """A run of random commands about steps of all kinds."""
    chance = random.Random(seed)
    orders = Orders(user_id=USER)
    given: dict[str, Any] = chance.choice(
        [{}, {"inputs": {}}, {"inputs": {"payload": LARGE, "b": 1}}, {"inputs": {"payload": 0}}]
    )
    if chance.random() < 0.5:
        credentials: Any = {"id": "c", "provider": "ProviderName.OPEN_AI", "type": "api_key"}
        given["credential_inputs"] = {"a": credentials, "b": chance.choice(VALUES)}
        given["nodes_input_masks"] = {"n": {"pin": chance.choice(VALUES)}}
    nodes = []
    for node in NODES:
        pins = chance.sample(PINS, 3)
        inputs = {pin: chance.choice([*VALUES, "n1", "n2"]) for pin in pins}
        block = f"streamed-{chance.choice([*KINDS, 'unknown'])}"
        nodes.append(orders.node(node, block_id=block, inputs=inputs))
    sent = [orders.create(*nodes, **given), orders.start()]
    for node in NODES:
        data = {pin: chance.choice(VALUES) for pin in chance.sample(PINS, 3)} | {"name": "n1"}
        steps = [
            orders.move_step(node, "QUEUED", execution_data=chance.choice([data, {}])),
            orders.move_step(node, "RUNNING"),
            *(orders.emit(node, chance.choice(PINS), chance.choice(VALUES)) for _ in range(6)),
        ]
        cleared = {"cleared_inputs": {"name": ["no"], "value": ["gone"]}} | chance.choice(
            [{}, {"cleared_outputs": {"out": ["gone"]}}]
        )
        stats = chance.choice([{}, {"note": LARGE, "cost": 1}, cleared, {"error": "x" * 9}])
        steps.append(orders.move_step(node, "COMPLETED", stats=stats))
        sent += steps[chance.choice([0, 1]) : chance.randint(1, len(steps))]
    return orders, sent


@pytest.fixture(scope="module")
async def runs(place: Installation, kinds: None) -> list[Orders]:
    """Runs of all kinds."""
    made = [lived(seed) for seed in range(6)]
    for _, sent in made:
        await place.put(sent)
    await place.drained()
    return [orders for orders, _ in made]


async def got(http: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    answer = await http.get(f"/v1/executions{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return exact_json.decode(answer.content)


def same(value: object) -> Any:
    return exact_json.decode(exact_json.encode(value))


@pytest.fixture(scope="module")
async def db(place: Installation) -> AsyncIterator[Any]:
    """A pool as a reader's."""
    from execstream import connect  # noqa: PLC0415

    pool = await connect(place.settings.postgres, place.settings.schema_)
    yield pool
    await pool.close()


@pytest.mark.slow
async def test_whole_runs(http: httpx.AsyncClient, runs: list[Orders], db: Any) -> None:
    """The comparison is of runs now, and as of each of their entries."""
    for orders in runs:
        whole = await reads.get_graph_execution(db, USER, orders.run_id, True)
        assert await got(http, f"/{orders.run_id}") == same(whole)
        last = await db.fetchval(
            "select last_seq from graph_execution where id = $1", orders.run_id
        )
        for seq in range(1, last + 1, 3):
            then = await reads.get_graph_execution_as_of(db, USER, orders.run_id, seq)
            assert await got(http, f"/{orders.run_id}", as_of=seq) == same(then), seq


async def test_order_of_pins_and_values(
    http: httpx.AsyncClient, runs: list[Orders], db: Any
) -> None:
    """Pins come in the order of their first value."""
    for orders in runs:
        whole = await reads.get_graph_execution(db, USER, orders.run_id, True)
        assert whole is not None
        found = await got(http, f"/{orders.run_id}")
        for step, expected in zip(found["node_executions"], whole.node_executions, strict=True):
            assert list(step["output_data"]) == list(expected.output_data)


@pytest.mark.parametrize("values", [True, False])
async def test_pages_of_steps(
    http: httpx.AsyncClient, runs: list[Orders], db: Any, values: bool
) -> None:
    """With and without values, now and then."""
    for orders in runs:
        for seq in (9, 30):
            past = await find_past(db, orders.run_id, seq)
            assert past is not None
            then, following = await list_steps_as_of(db, past, limit=3, with_values=values)
            found = await got(http, f"/{orders.run_id}/nodes", as_of=seq, limit=3, values=values)
            assert found["data"] == same(then)
            assert found["next_cursor"] == (following and str(following))
        pages = []
        cursor: Any = 0
        while cursor is not None:
            page = await got(http, f"/{orders.run_id}/nodes", limit=3, cursor=cursor, values=values)
            pages += page["data"]
            cursor = page["next_cursor"]
        whole = await reads.get_node_executions(
            db, orders.run_id, include_exec_data=values, user_id=USER
        )
        by_id = {step.node_exec_id: same(step) for step in whole}
        assert {step["node_exec_id"]: step for step in pages} == by_id


@pytest.mark.parametrize("values", [True, False])
async def test_pages_of_runs(
    http: httpx.AsyncClient, runs: list[Orders], db: Any, values: bool
) -> None:
    """One after the other, all of them."""
    expected = await reads.list_graph_executions(db, user_id=USER, with_values=values)
    found: list[Any] = []
    cursor: Any = {}
    while cursor is not None:
        page = await got(http, "", user_id=USER, limit=4, values=values, **cursor)
        found += page["data"]
        cursor = page["next_cursor"] and {"cursor": page["next_cursor"]}
    assert found == same(expected.data)
    assert len(found) == len(runs)
    none = await got(http, "", user_id="nobody")
    assert (none["data"], none["next_cursor"]) == ([], None)


async def test_large_values_of_a_snapshot(
    server: Server, http: httpx.AsyncClient, place: Installation
) -> None:
    """Are left out with their places, and can be had from the journal."""
    orders = Orders(user_id="ada-snapshot")
    large = "x" * SNAPSHOT_VALUE
    sent = [
        orders.create(orders.node("a", inputs={"in": large}), inputs={"text": large}),
        orders.emit("a", data="small"),
        orders.emit("a", data=large),
    ]
    await place.put(sent)
    await place.drained()
    async with Subscription(server.url, graph_exec_id=orders.run_id) as stream:
        state = (await stream.next("snapshot")).data
    [step] = state["node_executions"]
    marker = f"… {len(large) + 2} bytes left out …"
    assert step["output_data"] == {"out": ["small", marker]}
    assert step["input_data"] == {"in": marker}
    by_field = {left["field"]: left for left in state["left_out"]}
    assert by_field.keys() == {"input_data", "output_data", "inputs"}
    place_of = by_field["output_data"]
    assert (place_of["pin"], place_of["index"]) == ("out", 1)
    for field, name in (("input_data", "data"), ("output_data", "data"), ("inputs", "inputs")):
        seq = by_field[field]["seq"]
        entry = await got(http, f"/{orders.run_id}/journal", after=seq - 1, limit=1)
        assert entry["data"][0][name] == ({"text": large} if field == "inputs" else large)


async def test_large_documents_of_a_snapshot(
    server: Server, http: httpx.AsyncClient, place: Installation, kinds: None
) -> None:
    """Inputs and outputs of a run that come from a document of a step name its entry."""
    orders = Orders(user_id="ada-documents")
    document = {"name": "answer", "value": "x" * SNAPSHOT_VALUE}
    end = orders.node("end", block_id="streamed-out")
    sent = [
        orders.create(end),
        orders.start(),
        orders.move_step("end", "RUNNING", execution_data=document),
    ]
    await place.put(sent)
    await place.drained()
    async with Subscription(server.url, graph_exec_id=orders.run_id) as stream:
        state = (await stream.next("snapshot")).data
    by_field = {left["field"]: left for left in state["left_out"]}
    assert by_field.keys() == {"input_data", "outputs"}
    output = by_field["outputs"]
    assert (output["name"], output["pin"], output["index"]) == ("answer", "value", 0)
    for left in by_field.values():
        entry = await got(http, f"/{orders.run_id}/journal", after=left["seq"] - 1, limit=1)
        assert entry["data"][0]["execution_data"] == document
