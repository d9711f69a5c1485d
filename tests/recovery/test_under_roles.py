"""Everything under roles: workers, server and operators, each with the rights of its role alone."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from execstream import ExecutionClient
from execstream.devstack import Addresses
from execstream.recovery.replay.cut_over import NotExchangeable
from execstream.storage.schema.migrate import migrate
from execstream.storage.schema.roles import Role
from tests.agents.tallied import counted, differences
from tests.comparing import assert_equal, reference_of
from tests.dashboard.serving import site
from tests.orders import Order, Orders
from tests.recovery.lived import drop, replayed, simulated
from tests.storage.logins import logins
from tests.whole.doctoring import complaints, settings_of
from tests.whole.program import Program
from tests.worker import Installation, installation, until

_SEEN = {"minutes": 1, "ended": 20, "failed": 10, "least_rate": 0.2}
_FIGURES = {
    "threshold": 0.1,
    "usual_rate": None,
    "leading_class": None,
    **dict.fromkeys(("at_open", "worst", "now"), _SEEN),
}
_ALERT = """
insert into alert (subject, kind, severity, block_id, figures)
values ('block:b', 'failing', 'warning', 'b', $1::text::jsonb) returning id
"""
OLD = datetime.now(UTC) - timedelta(days=5)


@asynccontextmanager
async def living(
    stack: Addresses, folder: Path
) -> AsyncIterator[tuple[Installation, Mapping[Role, str]]]:
    """An installation with workers of all roles, which have no rights but those of a worker."""
    async with AsyncExitStack() as running:
        place = await running.enter_async_context(installation(stack, folder))
        schema = place.settings.schema_
        await migrate(stack.postgres_dsn, schema, with_roles=True)
        users = await running.enter_async_context(logins(stack.postgres_dsn, schema))
        for role in ("apply", "tally", "bridge"):
            worker = await place.start_worker(role, postgres_dsn=users[Role.WORKER])
            running.push_async_callback(worker.stop)
        yield place, users


@asynccontextmanager
async def served(place: Installation, dsn: str) -> AsyncIterator[httpx.AsyncClient]:
    """The HTTP server as a user of Postgres."""
    settings = place.settings_with(postgres_dsn=dsn)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.environment().items():
            environment.setenv(name, value)
        client = ExecutionClient()
    async with client, site(settings, client) as http:
        yield http


def _life(orders: Orders) -> list[Order]:
    at = {"at": OLD.isoformat()}
    return [
        orders.create(orders.node("n"), **at),
        orders.start(**at),
        orders.move("COMPLETED", **at),
    ]


async def test_everything_works_under_roles(stack: Addresses, tmp_path: Path) -> None:
    """Workers apply, count, publish and make days; the server reads, sends, acknowledges and puts
    back; an operator with the role of a worker lets old days go, verifies and forgets; the owner
    replays and swaps, and the workers continue behind it. Rows and totals are as without roles.
    """
    async with living(stack, tmp_path) as (place, users):
        old, bad = Orders(), Orders(user_id="eve")
        await place.put([*_life(old), *simulated(1_500, seed=5), bad.create(graph_version=0)])
        await place.drained()
        await counted(place)

        for role in (Role.WORKER, Role.SERVER):
            settings = settings_of(place).at(postgres_dsn=users[role])
            assert [one.found for one in await complaints(settings, "postgres")] == []
        async with served(place, users[Role.SERVER]) as http:
            assert (await http.get("/v1/executions")).json()["data"]
            alert = await place.db.fetchval(_ALERT, json.dumps(_FIGURES))
            answer = await http.post(f"/v1/alerts/{alert}/acknowledge", json={"by": "ada"})
            assert answer.status_code == 200
            assert (await http.post(f"/v1/alerts/{alert}/silence", json={"minutes": 1})).is_success
            [letter] = (await http.get("/v1/dead-letters?limit=1")).json()["data"]
            again = await http.post(f"/v1/dead-letters/{letter['id']}/redrive", json={})
            assert again.status_code == 202
            create = json.loads(Orders(user_id="eve").create().value or b"")
            sent = await http.post("/v1/commands", json=create, headers={"Prefer": "wait=20"})
            assert sent.json()["outcome"] == "applied"
        assert await place.db.fetchval("select count(distinct act) from audit") >= 3
        await place.drained()
        await counted(place)
        place.puts = [(one.partition, one.offset) for one in await place.commands()]
        await assert_equal(place, await reference_of(place))
        assert await differences(place) == []

        schema, user = f"{place.settings.schema_}_new", urlsplit(users[Role.WORKER]).username
        await place.db.execute(f"revoke {user} from current_user")
        with pytest.raises(NotExchangeable, match=str(user)):
            await replayed(place, schema, swapping=True)
        await place.db.execute(f"grant {user} to current_user")
        assert (await replayed(place, schema, swapping=True)).swapped
        later = Orders()
        await place.put(_life(later))
        await place.drained()
        await counted(place)
        assert await differences(place) == []
        await drop(place.db, schema)

        operator = Program(
            tmp_path, place.settings_with(postgres_dsn=users[Role.WORKER]).environment()
        )
        checked = await operator("verify", "--all")
        assert checked.code == 0, checked.err

        async def is_gone() -> bool:
            went = await operator("retention", "apply", "--keep-days", "1")
            assert went.code == 0, went.err
            return not await place.db.fetchval(
                "select count(*) from journal where graph_exec_id = $1", old.run_id
            )

        await until(is_gone)
        forgotten = await operator("forget", "--user", "eve", "--yes")
        assert forgotten.code == 0, forgotten.err
