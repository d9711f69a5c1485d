"""A stored row that cannot be read concerns its run alone, whatever stands in it and whoever reads.

Reads come from the public names of `execstream.reads` and the routes of `/openapi.json`: a new one
is tried without a word here, and one with a parameter that is not known here fails the test.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from execstream import ExecutionClient, connect, reads
from execstream.storage.reads.share_tokens import hash_share_token
from execstream.storage.schema.tables import (
    Table,
)
from execstream.storage.unreadable_rows import UnreadableRow
from tests.agents.tallied import counted
from tests.dashboard.serving import site
from tests.orders import DAWN, Orders
from tests.planting import columns_of_tables, planted, plants, rounds
from tests.recovery.lived import tallying
from tests.worker import Installation

TOKEN = "a-token-that-nobody-guesses"  # noqa: S105 - of the tests only


@dataclass(frozen=True)
class Subject:
    """A run, and the values by which parameters of reads name what belongs to it."""

    orders: Orders
    parameters: dict[str, Any]


def life(orders: Orders) -> Iterator[Any]:
    """A run with everything that a run can have."""
    graph = {"graph_id": f"graph-{orders.user_id}", "inputs": {"a": 1}}
    masks = {"nodes_input_masks": {"a": {"in": 1}}, "preset_id": "preset"}
    credentials = {"credential_inputs": {"a": {"id": "1", "provider": "p", "type": "api_key"}}}
    block = {"block_id": f"block-{orders.user_id}"}
    yield orders.create(
        orders.node("a", inputs={"name": "n"}, **block), **graph, **masks, **credentials
    )
    yield orders.start()
    yield orders.give("b", data={"x": [1]}, **block)
    yield orders.move_step("a", "RUNNING", stats={"walltime": 1.5})
    yield orders.emit("a", data={"answer": 42})
    yield orders.move_step("a", "FAILED", stats={"error": f"no {orders.user_id}", "cost": 3})
    yield orders.move_step("b", "QUEUED", execution_data={"x": 1})
    yield orders.order("graph.share", is_shared=True, share_token_hash=share_hash(orders))
    yield orders.start()  # refused
    yield orders.order("graph.update", stats={"cost": 3, "walltime": 2.5})
    yield orders.keep(data={"v": 1})
    yield orders.raw(b"no json")


def share_hash(orders: Orders) -> str:
    return hash_share_token(f"{TOKEN}-{orders.user_id}")


def subject(orders: Orders, dead_letter: str) -> Subject:
    """`orders` as reads and routes are asked for it."""
    step = orders.named("a")
    return Subject(
        orders,
        {
            "user_id": orders.user_id,
            "graph_id": f"graph-{orders.user_id}",
            "graph_version": 1,
            **dict.fromkeys(("execution_id", "graph_exec_id", "graph_eid"), orders.run_id),
            "parent_exec_id": orders.run_id,
            "node_exec_id": step,
            "node_id": "a",
            "block_id": f"block-{orders.user_id}",
            "block_ids": [f"block-{orders.user_id}"],
            "share_token": f"{TOKEN}-{orders.user_id}",
            "token": f"{TOKEN}-{orders.user_id}",
            "key": "key",
            "dead_letter_id": dead_letter,
            "command_id": orders.named("command/1"),
            "alert_id": 1,
            **dict.fromkeys(("start", "start_time", "created_time_gte"), DAWN - timedelta(hours=1)),
            **dict.fromkeys(("end", "end_time", "created_time_lte"), DAWN + timedelta(days=20_000)),
            "moment": DAWN + timedelta(seconds=30),
            "min_executions": 1,
            "days_back": 100_000,
        },
    )


HEALTHY, BROKEN = "healthy", "broken"
OWNER_COLUMNS = ("graph_exec_id", "user_id", "block_id", "graph_id")
# Tables without a column that names the owner: the column that names the row.
NAMES = {"graph_execution": "id", "block": "id", "graph": "id", "dead_letter": "id"}
# Tells of the program, not of rows, or never ends.
SKIPPED_ROUTES = {"/", "/v1/stream", "/v1/live/{table}"}


@dataclass
class Site:
    """An installation with a healthy run and one whose rows are changed, read in both ways."""

    place: Installation
    db: asyncpg.Pool
    http: httpx.AsyncClient
    subjects: dict[str, Subject]

    columns: dict[str, set[str]]

    def verify(self, of: str) -> tuple[str, ...]:
        """The commands that an error about the run may name."""
        run_id = self.subjects[of].orders.run_id
        known = (f"execstream verify {run_id}", "execstream verify --all")
        return known if of == BROKEN else ()

    def where(self, table: Table) -> str:
        """The condition on rows of `table` that belong to the broken run, or on all rows."""
        values = self.subjects[BROKEN].parameters
        if table.name in NAMES:
            column = NAMES[table.name]
            owner = {
                "graph_execution": "graph_exec_id",
                "block": "block_id",
                "graph": "graph_id",
                "dead_letter": "dead_letter_id",
            }[table.name]
            return f"{column} = '{values[owner]}'"
        owner = next((one for one in OWNER_COLUMNS if one in self.columns[table.name]), "")
        return f"{owner} = '{values[owner]}'" if owner else "true"


@pytest.fixture(scope="module")
async def planting(place: Installation, sender: ExecutionClient) -> AsyncIterator[Site]:
    """Two runs with rows in every table; their workers have ended."""
    runs = {name: Orders(user_id=name) for name in (HEALTHY, BROKEN)}
    async with place.worker(), tallying(place):
        for orders in runs.values():
            await place.put(list(life(orders)))
        await place.drained()
        await counted(place)
    letters = {}
    for name, orders in runs.items():
        await place.db.execute(
            "insert into block values ($1, $1, 'OUTPUT')", f"block-{orders.user_id}"
        )
        await place.db.execute(
            "insert into graph values ($1, 1, $1, 'text')", f"graph-{orders.user_id}"
        )
        letters[name] = await place.db.fetchval(
            "select id::text from dead_letter where key = $1", orders.run_id.encode()
        )
        await place.db.execute(
            "insert into alert (subject, kind, severity, block_id, graph_exec_id, figures)"
            " values ($1, 'failing', 'warning', $2, $3, $4::text::jsonb)",
            f"block:block-{name}",
            f"block-{name}",
            orders.run_id,
            '{"minutes": 5, "ended": 9, "failed": 9, "least_rate": 0.5, "threshold": 0.1,'
            ' "usual_rate": null, "leading_class": "other"}',
        )
    subjects = {name: subject(orders, letters[name]) for name, orders in runs.items()}
    db = await connect(place.settings.postgres, place.settings.schema_)
    for one in subjects.values():
        run_id = one.parameters["execution_id"]
        one.parameters["past"] = await reads.find_past(db, run_id, one.parameters["moment"])
    # Rendered tracebacks would take most of the time.
    async with site(place.settings_with(http_rate=1e6), sender) as http:
        with capture_logs():
            yield Site(place, db, http, subjects, await columns_of_tables(place.db))
    await db.close()


def public_reads() -> dict[str, Callable[..., Awaitable[Any]]]:
    """The reads of `execstream.reads`, by name."""
    return {name: one for name, one in vars(reads).items() if inspect.iscoroutinefunction(one)}


def arguments(read: Callable[..., Awaitable[Any]], of: Subject) -> dict[str, Any]:
    """What the read needs to find `of`, and no filter beyond that."""
    _, *parameters = inspect.signature(read).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty]
    return {name: of.parameters[name] for name in needed}


async def routes(http: httpx.AsyncClient) -> list[tuple[str, list[str]]]:
    """The paths that are read, with the names of what they need."""
    described = (await http.get("/openapi.json")).json()
    found = []
    for path, operations in described["paths"].items():
        if "get" in operations and path not in SKIPPED_ROUTES:
            parameters = operations["get"].get("parameters", ())
            found.append((path, [one["name"] for one in parameters if one.get("required")]))
    return found


def address(path: str, names: list[str], of: Subject) -> tuple[str, dict[str, Any]]:
    """A path with its parameters filled in, and those of the query."""
    values = {name: str(of.parameters[name]) for name in names}
    in_path = {name for name in names if f"{{{name}}}" in path}
    return path.format(**values), {k: v for k, v in values.items() if k not in in_path}


async def read_all(planting: Site, plant: str, paths: list[tuple[str, list[str]]]) -> list[str]:
    """What is wrong with the answers, in words. Reads that name nothing are asked once."""
    wrong, asked = [], set()
    for name, read in public_reads().items():
        for of in (HEALTHY, BROKEN):
            values = arguments(read, planting.subjects[of])
            if (name, str(values)) not in asked:
                asked.add((name, str(values)))
                if error := await failure(read(planting.db, **values), planting.verify(of)):
                    wrong.append(f"{name} of the {of} run: {error} {plant}")
    for path, names in paths:
        for of in (HEALTHY, BROKEN):
            url, query = address(path, names, planting.subjects[of])
            if (url, str(query)) not in asked:
                asked.add((url, str(query)))
                if error := await route_failure(planting, of, url, query):
                    wrong.append(f"{url} of the {of} run: {error} {plant}")
    return wrong


async def route_failure(planting: Site, of: str, url: str, query: dict[str, Any]) -> str | None:
    """The problem that a route answers with, if it is not one that names a way out of `verify`."""
    try:
        answer = await planting.http.get(url, params=query)
    except httpx.RemoteProtocolError as error:  # a large answer had begun, and is cut
        is_expected = of == BROKEN and planting.subjects[of].orders.run_id in url
        return None if is_expected else str(error)
    assert answer.status_code != 429, url
    if answer.status_code < 500 or answers(answer.text, planting.verify(of)):
        return None
    return answer.text


async def failure(answer: Awaitable[Any], verify: tuple[str, ...]) -> str | None:
    """The error of a read, if it is not one that names a way out of `verify`."""
    try:
        await answer
    except UnreadableRow as error:
        return None if answers(str(error), verify) else str(error)
    except Exception as error:  # noqa: BLE001 - any other one is a defect
        return repr(error)[:200]
    return None


def answers(text: str, verify: tuple[str, ...]) -> bool:
    """Whether `text` names one of the commands."""
    return any(f"`{command}`" in text for command in verify)


async def test_nothing_planted(planting: Site) -> None:
    """Every read finds both runs while no row is changed."""
    paths = await routes(planting.http)
    assert len(paths) > 20
    assert await read_all(planting, "nothing", paths) == []
    for of in planting.subjects.values():
        for path, names in paths:
            if "graph_exec_id" in path:
                url, query = address(path, names, of)
                assert (await planting.http.get(url, params=query)).status_code == 200, url


async def test_planted_values(planting: Site) -> None:
    """Reads about others answer, and reads of the run answer or name `verify`."""
    paths = await routes(planting.http)
    everything = await plants(planting.place.db)
    wrong, taken = [], 0
    for some in rounds(everything):
        placed = [(plant, planting.where(plant.table)) for plant in some]
        async with planted(planting.place.db, placed) as present:
            taken += len(present)
            wrong += await read_all(planting, " and ".join(map(str, present)), paths)
    assert taken > 0.8 * len(everything)
    assert wrong == []
