"""An installation with a healthy run and one with changed rows; `tests/planted_reads.py` reads
both.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from execstream import ExecutionClient, connect, reads
from execstream.storage.schema.tables import Table
from execstream.streams.topics import COMMANDS
from tests.agents.tallied import counted
from tests.dashboard.serving import serving
from tests.dashboard.sse import Subscription
from tests.orders import DAWN, Orders
from tests.planting import (
    BROKEN,
    HEALTHY,
    TOKEN,
    Plant,
    columns_of_tables,
    life,
    rows_of,
)
from tests.recovery.lived import tallying
from tests.worker import HOME, Installation


@dataclass(frozen=True)
class Subject:
    """A run, and the values by which parameters of reads name its parts."""

    orders: Orders
    parameters: dict[str, Any]


def subject(orders: Orders, dead_letter: str) -> Subject:
    """`orders` as reads, routes and commands are asked for it."""
    step, command = orders.named("a"), orders.named("command/2")
    runs = ("execution_id", "graph_exec_id", "graph_eid", "parent_exec_id", "run")
    return Subject(
        orders,
        {
            **dict.fromkeys(("user_id", "user"), orders.user_id),
            "graph_id": f"graph-{orders.user_id}",
            "graph_version": 1,
            **dict.fromkeys(runs, orders.run_id),
            "node_exec_id": step,
            "node_id": "a",
            "block_id": f"block-{orders.user_id}",
            "block_ids": [f"block-{orders.user_id}"],
            **dict.fromkeys(("share_token", "token"), f"{TOKEN}-{orders.user_id}"),
            "key": "key",
            **dict.fromkeys(("dead_letter_id", "letter"), dead_letter),
            **dict.fromkeys(("command_id", "command"), command),
            "alert_id": 1,
            "action": "terminate",
            "by": "user",
            "code": "not_found",
            **dict.fromkeys(("start", "start_time", "created_time_gte"), DAWN - timedelta(hours=1)),
            **dict.fromkeys(("end", "end_time", "created_time_lte"), DAWN + timedelta(days=20_000)),
            "moment": DAWN + timedelta(seconds=30),
            "min_executions": 1,
            "days_back": 100_000,
        },
    )


@dataclass
class Site:
    """The installation, and a place in its stream before both runs."""

    place: Installation
    db: asyncpg.Pool
    http: httpx.AsyncClient
    subjects: dict[str, Subject]
    columns: dict[str, set[str]]
    console: asyncio.subprocess.Process
    begin: str
    untouched: dict[str, str] = field(default_factory=dict)  # the output of commands

    def verify(self, of: str) -> tuple[str, ...]:
        """The commands that an error about the run may name."""
        run_id = self.subjects[of].orders.run_id
        known = (f"execstream verify {run_id}", "execstream verify --all")
        return known if of == BROKEN else ()

    def where(self, table: Table) -> str:
        """The condition on rows of `table` that belong to the broken run, or on all rows."""
        return rows_of(table, self.columns[table.name], self.subjects[BROKEN].parameters)

    def is_of_all(self, plant: Plant) -> bool:
        """Return whether the value is in rows without an owner, such as positions of consumers."""
        return self.where(plant.table) == "true"

    async def run(self, arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        assert self.console.stdin is not None
        assert self.console.stdout is not None
        self.console.stdin.write(json.dumps(arguments.split()).encode() + b"\n")
        code, out, err = json.loads(await self.console.stdout.readline())
        return code, out, err


@asynccontextmanager
async def planted_site(place: Installation) -> AsyncIterator[Site]:
    """Two runs with rows in every table; their workers have ended."""
    runs = {name: Orders(user_id=name) for name in (HEALTHY, BROKEN)}
    # Rendered tracebacks would take most of the time.
    with capture_logs():
        async with (
            sender_of(place) as sender,
            serving(place.settings_with(http_rate=1e6), sender) as server,
            httpx.AsyncClient(base_url=server.url, timeout=60) as http,
            console(place) as commands,
        ):
            async with Subscription(server.url) as stream:
                begin = (await stream.next("snapshot")).id
            async with place.worker(), tallying(place):
                for orders in runs.values():
                    await place.put(list(life(orders)))
                await place.drained()
                await counted(place)
            letters = {name: await _add_rows(place, name, one) for name, one in runs.items()}
            subjects = {name: subject(orders, letters[name]) for name, orders in runs.items()}
            db = await connect(place.settings.postgres, place.settings.schema_)
            for one in subjects.values():
                moment = one.parameters["moment"]
                one.parameters["past"] = await reads.find_past(db, one.orders.run_id, moment)
            columns = await columns_of_tables(place.db)
            yield Site(place, db, http, subjects, columns, commands, begin)
            await db.close()


@asynccontextmanager
async def sender_of(place: Installation) -> AsyncIterator[ExecutionClient]:
    """A client that sends commands to `place`."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in place.settings.environment().items():
            environment.setenv(name, value)
        client = ExecutionClient()
    async with client:
        yield client


@asynccontextmanager
async def console(place: Installation) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that runs commands on `place`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.planted_console"),
        cwd=HOME,
        env=os.environ | place.settings.environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**30,  # bytes of a line: values have 40 MB
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def _add_rows(place: Installation, name: str, orders: Orders) -> str:
    """Rows that no command makes; the id of the run's dead letter."""
    block, seen = f"block-{name}", {"minutes": 4, "ended": 9, "failed": 9}
    figures = {"now": seen, "worst": seen, "least_rate": 0.5, "threshold": 0.1}
    await place.db.execute("insert into block values ($1, $1, 'OUTPUT')", block)
    await place.db.execute("insert into graph values ($1, 1, $1, 'text')", f"graph-{name}")
    await place.db.execute(
        "insert into alert (subject, kind, severity, block_id, graph_exec_id, figures)"
        " values ($1, 'failing', 'warning', $2, $3, $4::text::jsonb)",
        *(f"block:{block}", block, orders.run_id, json.dumps(figures)),
    )
    await place.db.execute(
        """insert into quarantine (topic, partition, "offset", key, value, headers, bytes, reason,
                                   detail, user_id, received_at)
           values ($1, 0, $2, $3, 'value', '[]', 5, 'fault', '{"error": "none"}', $4, now())""",
        *(place.topic(COMMANDS.name), 10_000 + len(name), orders.run_id.encode(), name),
    )
    await place.db.execute(
        """insert into run_message
               (graph_exec_id, seq, status, graph_id, user_id, dry_run, ended_at)
           values ($1, 1, 'FAILED', 'graph', $2, false, now())""",
        *(orders.run_id, name),
    )
    letter: str = await place.db.fetchval(
        "select id::text from dead_letter where key = $1", orders.run_id.encode()
    )
    return letter
