"""Budgets, from costs of steps to runs that are stopped and alerts, once each."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from execstream.agents.budgets.judge import BudgetJudge
from execstream.devstack import Addresses
from execstream.recovery.replay.replay_into import replay_into
from execstream.storage.alerts.records import Finding
from execstream.storage.connections import WRITE, connection
from execstream.streams.catalogue import DefineBudget, budget_record
from execstream.streams.imported import HEADERS
from execstream.streams.topics import CATALOGUE, COMMANDS
from execstream.streams.totals.budgets import Action, Per
from tests.agents.alerted import begun
from tests.agents.alerted import opened as alerts
from tests.agents.tallied import counted
from tests.orders import Order, Orders
from tests.recovery.lived import FROM_TOPICS, untold
from tests.worker import QUICK, Installation, Worker, installation, until

RUNS, STEPS = 50, 40
PRICE, LIMIT = 10, 100  # cents
KILL_EVERY = 6  # rounds of steps
KILLS = 5


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as own:
        yield own


async def define(place: Installation, budget_id: str, per: Per, **fields: Any) -> None:
    """Return when a worker of role `apply` has the budget."""
    budget = DefineBudget(budget_id=budget_id, per=per, **{"cost": LIMIT, **fields})
    key, value = budget_record(budget_id, budget)
    await place.producer.send_and_wait(place.topic(CATALOGUE.name), value, key, partition=0)

    async def is_there() -> bool:
        rows = await place.db.fetch("select cost from budget where id = $1", budget_id)
        return [row["cost"] for row in rows] == [budget.cost]

    await until(is_there)


def now() -> dict[str, str]:
    return {"at": datetime.now(UTC).isoformat()}


def running(orders: Orders, steps: int = STEPS, **fields: Any) -> list[Order]:
    """A run whose steps run."""
    names = [str(number) for number in range(steps)]
    nodes = [orders.node(name) for name in names]
    return [
        orders.create(*nodes, **now(), **fields),
        orders.start(**now()),
        orders.move_steps(names, "RUNNING", **now()),
    ]


def spend(orders: Orders, step: int, cost: int = PRICE) -> Order:
    return orders.move_step(str(step), "COMPLETED", stats={"cost": cost}, **now())


async def status_of(place: Installation, orders: Orders) -> str:
    return str(
        await place.db.fetchval(
            "select status from graph_execution where id = $1", UUID(orders.run_id)
        )
    )


def is_(place: Installation, orders: Orders, status: str) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        return await status_of(place, orders) == status

    return is_so


_ALL_CLOSED = "select count(*) > 0 and count(*) = count(closed_at) from alert"


async def sent_so_far(place: Installation) -> tuple[int, int]:
    """Records on the commands topic, and messages about alerts."""
    ends = await place._ends(COMMANDS.name)
    return sum(ends.values()), await place.db.fetchval("select count(*) from alert_message")


async def judged_anew(place: Installation) -> list[Finding]:
    """Judge everything, as a worker that has just started."""
    judge = BudgetJudge(place.settings)
    settings = place.settings
    async with connection(settings.postgres, settings.schema_, WRITE) as session:
        findings = await judge.look(session)
    await judge.close()
    return findings


async def test_runs_over_their_budget_are_stopped_once_whoever_dies(place: Installation) -> None:
    """Workers of both roles are killed while 50 runs spend. Each that reaches its limit is stopped
    by one command of its budget, with the reason, and has one alert; a run below it goes on. A
    fresh worker that judges everything again, and one behind a replay, send nothing.
    """
    async with AsyncExitStack() as ending:
        workers: dict[str, list[Worker]] = {"apply": [], "tally": []}

        async def begin(role: str) -> None:
            worker = await place.start_worker(role, timing=QUICK)
            ending.push_async_callback(worker.stop)
            workers[role].append(worker)

        for role in ("apply", "apply", "tally", "tally"):
            await begin(role)
        await define(place, "dear", Per.RUN, action=Action.TERMINATE)
        dear, cheap = [Orders() for _ in range(RUNS)], Orders()
        for orders in (*dear, cheap):
            await place.put(running(orders))
        kills = 0
        for step in range(STEPS):
            await place.put([spend(orders, step) for orders in dear])
            if step < LIMIT * 0.7 / PRICE:
                await place.put([spend(cheap, step)])
            if step % KILL_EVERY == KILL_EVERY - 1 and kills < KILLS:
                role = ("tally", "apply")[kills % 2]
                await workers[role].pop(0).kill()
                await begin(role)
                kills += 1
            await place.drained()
        assert kills == KILLS
        for orders in dear:
            await until(is_(place, orders, "TERMINATED"))
        await place.drained()
        await place.events()
        await counted(place)
        assert await status_of(place, cheap) == "RUNNING"
        await until(lambda: place.db.fetchval(_ALL_CLOSED))  # as their runs have ended

    stops = await place.db.fetch(
        """select graph_exec_id::text as run, command_id::text as command,
                  detail -> 'stats' ->> 'error' as error
             from journal where type = 'graph.updated' and status = 'TERMINATED'"""
    )
    expected = sorted((one.run_id, str(uuid5(UUID(one.run_id), "dear"))) for one in dear)
    assert sorted((row["run"], row["command"]) for row in stops) == expected
    assert all(row["error"].startswith("Budget dear is used up: ") for row in stops)
    raised = await place.db.fetch(
        "select graph_exec_id::text as run, count(*) from alert group by 1"
    )
    assert {row["run"]: row["count"] for row in raised} == {one.run_id: 1 for one in dear}

    before = await sent_so_far(place)
    assert await judged_anew(place) == []
    rebuilt = place.settings.schema_ + "_rebuilt"
    report = await replay_into(
        place.settings, rebuilt, FROM_TOPICS, untold, swapping=True, force=False
    )
    assert report.swapped
    assert await judged_anew(place) == []
    assert await sent_so_far(place) == before


async def test_days_of_users_and_graphs(place: Installation) -> None:
    """A user's day has a warning at 80 %, which becomes critical, and stops nothing. A graph's day
    stops all live runs of the graph, free ones too, and no other's. Dry runs and imported steps
    spend nothing.
    """
    async with place.worker(), AsyncExitStack() as ending:
        ending.push_async_callback((await begun(place)).stop)
        await define(place, "user", Per.USER_DAY, user_id="ada")
        await define(place, "graph", Per.GRAPH_DAY, cost=50, action=Action.TERMINATE, graph_id="g")
        dry, imported = Orders(), Orders()
        free, dear, other = Orders(user_id="bob"), Orders(user_id="bob"), Orders()
        await place.put([*running(dry, graph_id="g", dry_run=True), spend(dry, 0, 1_000)])
        past = [*running(imported, graph_id="g"), spend(imported, 0, 1_000)]
        await place.put([order._replace(headers=HEADERS) for order in past])
        await place.put([*running(free, graph_id="g"), *running(dear, graph_id="g")])
        await place.put([*running(other), spend(other, 0, 80)])
        [warning] = await alerts(place)
        assert (warning["severity"], json.loads(warning["figures"])["now"]) == (
            "warning",
            {"cost": 80},
        )
        await place.put([spend(other, 1, 20)])
        await until(lambda: has_severity(place, "critical"))
        await place.put([spend(dear, 0, 50)])
        for orders in (free, dear):
            await until(is_(place, orders, "TERMINATED"))
        for orders in (dry, other):
            assert await status_of(place, orders) == "RUNNING"
        await until(is_(place, imported, "TERMINATED"))  # it is alive, whatever it cost

    rows = await place.db.fetch(
        """select subject, type from alert_message m join alert a on a.id = m.alert_id
            order by m.id"""
    )
    today = datetime.now(UTC).date()
    assert [tuple(row) for row in rows] == [
        (f"budget:user/ada/{today}", "alert.opened"),
        (f"budget:user/ada/{today}", "alert.changed"),
        (f"budget:graph/g/{today}", "alert.opened"),
    ]
    spent = await place.db.fetch("select per, subject, sum(cost) from spending group by 1, 2")
    assert {tuple(row) for row in spent} == {
        ("run", other.run_id, 100),
        ("run", dear.run_id, 50),
        ("user_day", "ada", 100),
        ("user_day", "bob", 50),
        ("graph_day", "graph", 100),
        ("graph_day", "g", 50),
    }


async def test_a_run_that_was_resumed_goes_on(place: Installation) -> None:
    """Its command was applied, and is not sent again; and a raised budget closes the alert."""
    orders = Orders()
    async with place.worker(), AsyncExitStack() as ending:
        ending.push_async_callback((await begun(place)).stop)
        await define(place, "dear", Per.RUN, action=Action.TERMINATE)
        await place.put([*running(orders, 2), spend(orders, 0, LIMIT)])
        await until(is_(place, orders, "TERMINATED"))
        await until(lambda: are_closed(place))
        await place.put([orders.move("RUNNING", **now())])
        await until(is_(place, orders, "RUNNING"))
        before = await sent_so_far(place)
        assert await judged_anew(place) == []
        assert await sent_so_far(place) == before
        assert await status_of(place, orders) == "RUNNING"

        await define(place, "user", Per.USER_DAY)
        await until(lambda: has_severity(place, "critical"))
        await define(place, "user", Per.USER_DAY, cost=2 * LIMIT)
        await until(lambda: are_closed(place))


async def has_severity(place: Installation, severity: str) -> bool:
    row = await place.db.fetchrow("select severity from alert where closed_at is null")
    return row is not None and row["severity"] == severity


async def are_closed(place: Installation) -> bool:
    rows = await place.db.fetch("select closed_at from alert")
    return bool(rows) and all(row["closed_at"] for row in rows)
