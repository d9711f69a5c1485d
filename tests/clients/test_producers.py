"""The producers of `examples/clients`: each starts 100 runs with its own Kafka client and brings
them to an end; those that it leaves RUNNING are terminated on the page."""

import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS
from tests.clients.program import PATIENCE, run
from tests.dashboard.page.browser import Tab, chromium
from tests.fetching import program as fetched
from tests.install.environments import Environment
from tests.worker import HOME, Installation, Worker

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(2 * PATIENCE)]

CLIENTS = HOME / "examples" / "clients"
RUNS, LEFT = 100, 5
Variables = Mapping[str, str]


async def kafkajs(folder: Path, variables: Variables) -> str:
    await run(folder, fetched("npm"), "ci", "--no-audit", "--no-fund")
    return await run(folder, fetched("node"), "producer.js", variables=variables)


async def franz_go(folder: Path, variables: Variables) -> str:
    return await run(folder, fetched("go"), "run", ".", variables=variables)


async def java(folder: Path, variables: Variables) -> str:
    fetched("javac")
    await run(folder, fetched("mvn"), "-q", "-B", "package")
    classes = "target/producer-1.jar:target/lib/*"
    return await run(folder, fetched("java"), "-cp", classes, "Producer", variables=variables)


async def confluent(folder: Path, variables: Variables) -> str:
    environment = Environment.create(folder / "environment")
    environment.install("-r", str(folder / "requirements.txt"))
    return await run(folder, environment.python, "producer.py", variables=variables)


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """A browser."""
    async with chromium(fetched("chromium"), tmp_path / "profile", tmp_path) as own:
        yield own
        assert own.troubles == []


@pytest.mark.parametrize(
    ("client", "folder", "partitioner"),
    [
        (kafkajs, "kafkajs", None),
        (franz_go, "go", None),
        (java, "java", None),
        (confluent, "python", "murmur2_random"),
        (confluent, "python", "consistent_random"),
    ],
    ids=["kafkajs", "franz-go", "java", "confluent, murmur2", "confluent, by default"],
)
async def test_runs_of_a_client(
    place: Installation,
    worker: Worker,
    http: httpx.AsyncClient,
    tab: Tab,
    tmp_path: Path,
    client: Callable[[Path, Variables], Awaitable[str]],
    folder: str,
    partitioner: str | None,
) -> None:
    """All are as they were sent, nothing is refused or dead, and all come to an end."""
    shutil.copytree(CLIENTS / folder, tmp_path / "client")
    variables = {
        "BOOTSTRAP": place.settings.kafka,
        "TOPIC": place.topic(COMMANDS.name),
        "RUNS": str(RUNS),
    }
    if partitioner is not None:
        variables["PARTITIONER"] = partitioner
    rejected = await _rejected(place)

    runs = [str(UUID(line)) for line in (await client(tmp_path / "client", variables)).split()]
    await place.drained()

    statuses = await _statuses(place, runs)
    assert len(runs) == len(statuses) == RUNS
    assert Counter(statuses.values()) == {"COMPLETED": RUNS - LEFT, "RUNNING": LEFT}
    assert await _rejected(place) == rejected
    own = await place.db.fetch(
        "select id::text, source_partition from graph_execution where id = any($1::uuid[])", runs
    )
    by_key = sum(partition_of(row[0].encode(), COMMANDS.partitions) == row[1] for row in own)
    assert (by_key == RUNS) == (partitioner != "consistent_random")

    for run_id in [run_id for run_id, status in statuses.items() if status == "RUNNING"]:
        await _terminate(tab, f"{str(http.base_url).rstrip('/')}/#/runs/{run_id}")
    assert Counter((await _statuses(place, runs)).values()) == {
        "COMPLETED": RUNS - LEFT,
        "TERMINATED": LEFT,
    }


async def _statuses(place: Installation, runs: list[str]) -> dict[str, str]:
    rows = await place.db.fetch(
        "select id::text, status::text from graph_execution where id = any($1::uuid[])", runs
    )
    return dict(map(tuple, rows))


async def _rejected(place: Installation) -> tuple[int, int]:
    letters = await place.db.fetchval("select count(*) from dead_letter")
    return letters, await place.db.fetchval("select count(*) from refusal")


async def _terminate(tab: Tab, address: str) -> None:
    await tab.open(address)
    await tab.click(".actions button", "Terminate")
    await tab.click("dialog button[value=yes]")
    await tab.sees("document.querySelector('.run-head .pill').innerText === 'Terminated'")
