"""Limits of one client: connections, headers, bodies, and requests of a token."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from execstream import ExecutionClient
from execstream.dashboard import connections, middleware, quotas
from execstream.dashboard.problems import ProblemError
from execstream.dashboard.server import Server
from execstream.storage.access.http_tokens import HttpToken
from tests.dashboard.serving import PATIENCE, SECRET, serving, site
from tests.orders import Orders
from tests.worker import Installation, until

Socket = tuple[asyncio.StreamReader, asyncio.StreamWriter]
START = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Socket]:
    """A connection without a client's manners."""
    url = httpx.URL(server.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the last answer of a connection, after which it is closed."""
    async with asyncio.timeout(PATIENCE):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


async def test_headers_without_end(server: Server) -> None:
    """They are refused as soon as they are too many bytes, with a sentence."""
    async with connected(server) as (reader, writer):
        writer.write(START + b"X: %b" % (b"a" * connections.MAX_HEADER_BYTES))
        status, problem = await answer_of(reader)
    assert (status, problem["status"]) == (431, 431)
    assert "header" in problem["detail"]


@pytest.mark.parametrize("lines", [[b"A: b"] * 101, [b"A: %b" % (b"a" * 9000)] * 2])
async def test_too_many_complete_headers(server: Server, lines: list[bytes]) -> None:
    """They are refused whether they come whole or in parts."""
    async with connected(server) as (reader, writer):
        writer.write(START + b"\r\n".join([*lines, b"", b""]))
        status, problem = await answer_of(reader)
    assert (status, problem["title"]) == (431, "Request Header Fields Too Large")


async def test_what_is_no_http(server: Server) -> None:
    """A problem with a sentence, as for all that is refused."""
    async with connected(server) as (reader, writer):
        writer.write(b"EHLO mail\r\n\r\n")
        status, problem = await answer_of(reader)
    assert status == 400
    assert problem["detail"].endswith(".")


async def test_headers_that_trickle(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for headers does not begin anew with each byte, nor with each connection kept."""
    monkeypatch.setattr(connections, "HEADERS_WITHIN", 2.0)
    for before in (b"", START + b"\r\n"):
        async with connected(server) as (reader, writer):
            writer.write(before)
            if before:
                await reader.readuntil(b'"alive"')

            async def trickle(to: asyncio.StreamWriter = writer) -> None:
                for byte in START * 100:
                    to.write(bytes([byte]))
                    await asyncio.sleep(0.05)

            trickling = asyncio.create_task(trickle())
            async with asyncio.timeout(PATIENCE):
                said = await reader.read()
            trickling.cancel()
        assert b"408 Request Timeout" in said
        assert b"did not arrive" in said


async def test_connections_that_ask_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are closed without a word."""
    monkeypatch.setattr(connections, "HEADERS_WITHIN", 0.1)
    async with connected(server) as (reader, _), asyncio.timeout(PATIENCE):
        assert await reader.read() == b""


async def test_a_body_that_does_not_come(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for no longer than BODY_WITHIN."""
    monkeypatch.setattr(connections, "BODY_WITHIN", 0.2)
    head = b"POST /v1/commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    async with connected(server) as (reader, writer):
        writer.write(head + b"Content-Length: 10\r\n\r\n{")
        status, _ = await answer_of(reader)
    assert status == 408


async def test_a_reader_that_reads_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection ends, and nothing is kept for it."""
    monkeypatch.setattr(connections, "STALLED_AFTER", 0.2)
    async with connected(server) as (reader, writer):
        # Answers to so many requests exceed the buffers of both sides.
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(_write_on(writer), PATIENCE)


async def _write_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def test_more_connections_than_there_may_be(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has waited longest makes room, and a client with a request is served."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    async with (
        connected(server) as (first, _),
        connected(server),
        connected(server),
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        for _ in range(3):
            assert (await http.get("/livez")).status_code == 200
        async with asyncio.timeout(PATIENCE):
            assert await first.read() == b""


@pytest.mark.parametrize(
    "path", ["/v1/alerts/1/silence", "/v1/dead-letters/1/redrive", "/v1/nothing", "/livez"]
)
async def test_bodies_of_every_route(http: httpx.AsyncClient, path: str) -> None:
    """An unread body ends with its request; others are 413 beyond MAX_BODY."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * middleware.MAX_BODY

    answer = await http.post(path, content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code in {413, 404, 405}
    assert answer.headers["Content-Type"] == "application/problem+json"
    if "alerts" in path or "redrive" in path:
        assert answer.status_code == 413
        assert str(middleware.MAX_BODY) in answer.json()["detail"]


async def test_types_of_bodies(http: httpx.AsyncClient) -> None:
    """All routes take application/json and nothing else."""
    for path in ("/v1/alerts/1/silence", "/v1/dead-letters/1/redrive", "/v1/commands"):
        for kind in ("text/plain", "application/merge-patch+json", "multipart/form-data"):
            answer = await http.post(path, content=b"{}", headers={"Content-Type": kind})
            assert (path, answer.status_code) == (path, 415)


async def test_head(http: httpx.AsyncClient) -> None:
    """Is as GET, without the body, on every route; also of a stream, which ends."""
    for path in ("/v1/executions", "/v1/me", "/livez", "/v1/stream", "/v1/executions/none", "/"):
        answer = await http.head(path)
        assert (path, answer.status_code) == (path, 404 if "none" in path else 200)
        assert answer.content == b""


async def test_a_proxy_without_a_token(http: httpx.AsyncClient) -> None:
    """Asks for others than this machine."""
    for name in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host"):
        answer = await http.get("/v1/executions", headers={name: "203.0.113.1"})
        assert answer.status_code == 421
        assert "execstream tokens create" in answer.json()["detail"]


async def test_the_rate_of_a_token(place: Installation, sender: ExecutionClient) -> None:
    """One token's requests cost another's nothing; the answer has the time to come back."""
    other = "another-of-the-tests"
    settings = place.settings_with(http_token=f"{SECRET}=ada,{other}", http_rate=0.001)
    async with site(settings, sender, SECRET) as http:
        answers = [await http.get("/v1/me") for _ in range(2)]
        of_another = await http.get("/v1/me", headers={"Authorization": f"Bearer {other}"})
    assert [answer.status_code for answer in answers] == [200, 429]
    assert int(answers[1].headers["Retry-After"]) > 900
    assert answers[1].json()["detail"].startswith("This token may send 0.001 requests per second")
    assert of_another.status_code == 200


async def test_a_second_of_requests_may_come_together() -> None:
    """Unused requests from before do not add up."""
    now = 0.0
    quota = quotas.Quota(50, 4, quotas.Places(8), clock=lambda: now)

    for now, count in ((0.0, 50), (0.125, 6), (100.0, 50)):  # noqa: B007 - the quota's clock
        for _ in range(count):
            quota.use()
        with pytest.raises(ProblemError, match="50 requests per second") as refused:
            quota.use()
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})


class Prompt:
    """A client that never keeps the server waiting."""

    waits_since = None

    def give_way(self) -> None:
        raise AssertionError("it has not stalled")

    cut = give_way


async def test_large_requests_of_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """One token holds its own part at most; all tokens together the server's."""
    monkeypatch.setattr(quotas, "LARGE_WITHIN", 0.01)
    every = quotas.Quotas(50, 4)
    held = [every.of(HttpToken("a")).large(Prompt()) for _ in range(4)]
    for one in held:
        await one.__aenter__()
    with pytest.raises(ProblemError, match="at once") as refused:
        async with every.of(HttpToken("a")).large(Prompt()):
            pass
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "1"}
    held += [every.of(HttpToken("b")).large(Prompt()) for _ in range(4)]
    for one in held[4:]:
        await one.__aenter__()
    with pytest.raises(ProblemError, match="8 large answers") as refused:
        async with every.of(HttpToken("c")).large(Prompt()):
            pass
    assert refused.value.status == 503
    await held.pop().__aexit__(None, None, None)
    async with every.of(HttpToken("c")).large(Prompt()):
        pass
    for one in held:
        await one.__aexit__(None, None, None)


async def test_a_large_body_counts_until_its_answer(
    place: Installation, sender: ExecutionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow sender waits for itself only; small bodies go on."""
    monkeypatch.setattr(quotas, "LARGE_WITHIN", 0.05)
    orders = Orders(user_id="ada-limits")
    small = json.loads(orders.create().value or b"")
    large = {**small, "inputs": {"text": "x" * middleware.MAX_BODY}}
    async with serving(place.settings_with(http_large=1), sender) as server:
        head = (
            b"POST /v1/commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        async with connected(server) as (_, writer), httpx.AsyncClient(base_url=server.url) as http:
            writer.write(head + b"Content-Length: 100000\r\n\r\n" + b" " * 10_000)

            async def is_refused() -> httpx.Response:
                while True:
                    answer = await http.post("/v1/commands", json=large)
                    if answer.status_code != 202:
                        return answer

            refused = await asyncio.wait_for(is_refused(), PATIENCE)
            taken = await http.post("/v1/commands", json=small)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert taken.status_code == 202


@pytest.fixture(scope="module")
async def large_run(place: Installation, worker: object) -> Orders:
    """A run with one output that is more than the buffers of both sides of a connection hold."""
    orders = Orders(user_id="ada-stalls")
    await place.put([orders.create(orders.node("a")), orders.emit("a", data="x" * 7_900_000)])
    await place.drained()
    return orders


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /v1/executions/%b HTTP/1.1\r\n",
        b"GET /v1/executions/%b/journal HTTP/1.1\r\n",
        b"GET /v1/stream?graph_exec_id=%b HTTP/1.1\r\nLast-Event-ID: 0\r\n",
        (
            b"POST /v1/commands HTTP/1.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000\r\nX: %b\r\n"
        ),
    ],
)
async def test_who_stalls_gives_way(
    server: Server,
    http: httpx.AsyncClient,
    large_run: Orders,
    monkeypatch: pytest.MonkeyPatch,
    request_line: bytes,
) -> None:
    """Clients that take or send nothing hold all places of the quota; a reader gets one of them
    long before their connections end."""
    within, stalled = 10 * PATIENCE, quotas.STALLED_AFTER
    monkeypatch.setattr(quotas, "LARGE_WITHIN", within)
    monkeypatch.setattr(quotas, "STALLED_AFTER", within)  # the fifth one waits as well
    monkeypatch.setattr(connections, "STALLED_AFTER", 10 * PATIENCE)
    monkeypatch.setattr(connections, "BODY_WITHIN", 10 * PATIENCE)
    run_id = large_run.run_id
    async with AsyncExitStack() as stack:
        for _ in range(5):  # one more than there are places
            reader, writer = await stack.enter_async_context(connected(server))
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(
                request_line % run_id.encode() + b"Host: localhost\r\n\r\n" + b" " * 10_000
            )

        async def are_taken() -> bool:
            return (await http.get("/v1/executions?user_id=nobody")).status_code == 429

        monkeypatch.setattr(quotas, "LARGE_WITHIN", 0.01)
        await until(are_taken)
        monkeypatch.setattr(quotas, "LARGE_WITHIN", within)
        monkeypatch.setattr(quotas, "STALLED_AFTER", stalled)
        answer = await http.get(f"/v1/executions/{run_id}", timeout=2 * PATIENCE)
    assert answer.status_code == 200
    assert answer.json()["node_executions"][0]["output_data"]["out"][0].count("x") == 7_900_000
