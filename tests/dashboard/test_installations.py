"""Which installation a process belongs to, and answers of others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from execstream import ExecutionClient, __version__
from execstream.devstack.ports import free_ports
from execstream.streams.topics import EVENTS
from tests.dashboard.serving import PATIENCE, site
from tests.worker import Installation, until


async def identity_of(url: str, path: str = "/livez") -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.get(f"{url}{path}")
    found: dict[str, Any] = answer.json()
    return found


@asynccontextmanager
async def tallying(place: Installation, port: int, host: str = "127.0.0.1") -> AsyncIterator[None]:
    """A worker of the tally that owns partitions."""
    worker = await place.start_worker("tally", tally_port=port, worker_host=host)

    async def owns() -> bool:
        assert worker.is_alive, worker.log()
        return bool(worker.said("owns"))

    try:
        await until(owns)
        yield
    finally:
        await worker.stop()


async def test_each_says_who_it_is(place: Installation, sender: ExecutionClient) -> None:
    """The server and a worker name the same installation, and their own role."""
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    async with (
        tallying(place, port),
        site(place.settings_with(tally_urls=url), sender) as http,
    ):

        async def is_known() -> bool:
            worker = await identity_of(url)
            server = await identity_of(str(http.base_url).rstrip("/"))
            return None not in (
                worker["installation"]["cluster_id"],
                server["installation"]["cluster_id"],
            )

        await until(is_known)
        answers = [
            *[await identity_of(url, path) for path in ("/livez", "/readyz", "/live/blocks")],
            *[(await http.get(path)).json() for path in ("/livez", "/readyz", "/v1/live/nodes")],
        ]
        installations = [answer["installation"] for answer in answers]
        assert installations == [installations[0]] * 6
        assert installations[0]["schema"] == place.settings.schema_
        assert installations[0]["topic_prefix"] == place.settings.topic_prefix
        assert [answer["role"] for answer in answers] == ["tally"] * 3 + ["server"] * 3
        assert {answer["version"] for answer in answers} == {__version__}
        async with httpx.AsyncClient() as plain:
            told = (await plain.get(f"{url}/metrics")).text + (await http.get("/metrics")).text
        named = [line for line in told.splitlines() if "_info{" in line and "cluster_id=" in line]
        assert [f'schema="{place.settings.schema_}"' in line for line in named] == [True, True]
        assert answers[-1]["foreign"] == []


async def test_answers_of_another_installation(
    place: Installation, sender: ExecutionClient
) -> None:
    """Are left out: their partitions are missing, and where they came from is named."""
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    async with tallying(place, port):
        async with site(place.settings_with(tally_urls=url), sender) as http:

            async def has_all() -> bool:
                return not (await http.get("/v1/live/blocks")).json()["missing"]

            await until(has_all)
        other = place.settings_with(tally_urls=url, topic_prefix="another-")
        async with site(other, sender) as http:

            async def knows_itself() -> bool:
                known = (await http.get("/livez")).json()["installation"]
                return bool(known["cluster_id"])

            await until(knows_itself)
            told = (await http.get("/v1/live/blocks")).json()
    assert (told["data"], told["foreign"]) == ([], [url])
    assert told["missing"] == list(range(EVENTS.partitions))


async def test_hosts_at_the_port_of_a_worker(place: Installation) -> None:
    """A worker on loopback answers loopback's names only; one that others may reach, any."""
    for host, status in (("127.0.0.1", 421), ("0.0.0.0", 200)):  # noqa: S104 - of the test
        port = free_ports(1)[0]
        async with (
            tallying(place, port, host),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        ):
            for path in ("/livez", "/metrics", "/live/nodes"):
                answer = await http.get(path, headers={"Host": f"evil.example:{port}"})
                assert answer.status_code == status
                assert (await http.get(path)).status_code == 200
                assert status == 200 or "EXECSTREAM_WORKER_HOST" in answer.json()["detail"]
