"""The memory of a server process under all attacks on it at once."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from execstream.streams.topics import COMMANDS
from tests.memory import SERVER_MOST, peak_memory
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation

pytestmark = [
    pytest.mark.usefixtures("worker"),
    pytest.mark.attacks,  # it takes the whole machine for minutes
    pytest.mark.timeout(300),
]

MIB = 1024 * 1024
OUTPUTS, SIZE = 60, 7_900_000
REFUSALS = 5_000
PATIENCE = 200.0  # seconds
READER, ATTACKER = "reader-of-the-tests", "attacker-of-the-tests"
ACCOMPLICE = "accomplice-of-the-tests"
HEADERS = f"Host: localhost\r\nAuthorization: Bearer {ATTACKER}\r\n"
BEHIND = HEADERS.replace(ATTACKER, ACCOMPLICE) + "Last-Event-ID: 0\r\n"
HALF_OPEN = 1_500
READERS = 300  # that read nothing

# Like the first output of the run, of the same command.
_COLUMNS = """graph_exec_id, seq + n, run_day, at, gen_random_uuid(), type, node_exec_id, name,
    to_jsonb(repeat('x', $3::int)), detail, was, status, source_partition, source_offset,
    source_index + n"""
_MORE = f"""
insert into journal select {_COLUMNS} from journal, generate_series(1, $2::int) n
 where graph_exec_id = $1 and type = 'node.output_added'
"""
_LETTERS = """
insert into dead_letter
select gen_random_uuid(), $1, 0, n, convert_to($2, 'utf8'),
       convert_to(repeat('x', $4::int), 'utf8'), '[]', 'not_json', '{}', now()
  from generate_series(1, $3::int) n
"""
# Of commands about a thousand unknown steps each.
_REFUSALS = """
insert into refusal
select 0, 1000000 + n, gen_random_uuid(), $1, 'ada-memory', 'node.update_many',
       'unknown_node_execution', skipped, now()
  from (select jsonb_build_object('skipped', jsonb_object_agg(gen_random_uuid(), null)) as skipped
          from generate_series(1, 1000)) one, generate_series(1, $2::int) n
"""


@pytest.fixture(scope="module")
async def large_run(place: Installation) -> str:
    """A run with a step that has OUTPUTS values of SIZE bytes, as many such dead letters, and many
    large refusals."""
    orders = Orders(user_id="ada-memory")
    await place.put([orders.create(orders.node("a")), orders.emit("a", data="x")])
    await place.drained()
    await place.db.execute(_MORE, orders.run_id, OUTPUTS, SIZE)
    longer = "update graph_execution set last_seq = last_seq + $2 where id = $1"
    await place.db.execute(longer, orders.run_id, OUTPUTS)
    topic = place.topic(COMMANDS.name)
    await place.db.execute(_LETTERS, topic, orders.run_id, OUTPUTS, SIZE)
    await place.db.execute(_REFUSALS, orders.run_id, REFUSALS)
    return orders.run_id


@pytest.fixture
async def process(place: Installation, tmp_path: Path) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A server in a process of its own, with the usual quotas; its URL. It foresees all of this."""
    usual = {
        "EXECSTREAM_HTTP_RATE": "50",
        "EXECSTREAM_HTTP_TOKEN": f"{READER},{ATTACKER},{ACCOMPLICE}",
    }
    program = Program(tmp_path, place.settings.environment() | usual)
    async with program.running("serve", "--port", "0", "--json") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        url = json.loads(await running.stdout.readline())["url"]
        log = asyncio.create_task(running.stderr.read())
        yield url, psutil.Process(running.pid)
    assert b"unforeseen" not in await log


async def test_the_story_of_a_run_is_small(
    process: tuple[str, psutil.Process], large_run: str
) -> None:
    """It needs neither the values of dead letters, nor the steps that commands skipped."""
    url, server = process
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
        answer = await http.get(
            f"/v1/executions/{large_run}/explanation", headers={"Authorization": f"Bearer {READER}"}
        )
    outcomes = Counter(line["outcome"] for line in answer.json()["lines"])
    assert (outcomes["dead"], outcomes["refused"]) == (OUTPUTS, REFUSALS)
    assert peak_memory(server.pid) <= SERVER_MOST


async def test_all_attacks_at_once(process: tuple[str, psutil.Process], large_run: str) -> None:
    """The server stays below SERVER_MOST, answers others, and drops nothing of a large answer,
    although the attackers' two tokens take all places for such that there are."""
    url, server = process
    before = peak_memory(server.pid)
    stream = f"/v1/stream?graph_exec_id={large_run}"
    attacks = [
        *(_endless_headers(url) for _ in range(3)),
        *(_half_open(url) for _ in range(HALF_OPEN)),
        *(_read_nothing(url, f"/v1/executions/{large_run}") for _ in range(10)),
        *(_read_nothing(url, f"/v1/executions/{large_run}/journal?limit=1000") for _ in range(10)),
        *(_read_nothing(url, stream) for _ in range(READERS)),
        *(_read_nothing(url, stream, BEHIND) for _ in range(READERS)),
        *(_large_body(url, "/v1/commands") for _ in range(10)),
        *(_large_body(url, "/v1/dead-letters/1/redrive") for _ in range(10)),
    ]
    attacking = [asyncio.create_task(_until_cancelled(one)) for one in attacks]
    async with (
        asyncio.timeout(PATIENCE),
        httpx.AsyncClient(
            base_url=url, timeout=60, headers={"Authorization": f"Bearer {READER}"}
        ) as http,
    ):
        read = await _whole(http, f"/v1/executions/{large_run}")
        alive = await http.get("/livez")
    for task in attacking:
        task.cancel()
    await asyncio.wait(attacking)
    assert alive.status_code == 200
    assert read >= OUTPUTS * SIZE
    peak = peak_memory(server.pid)
    assert peak <= SERVER_MOST, f"{peak} MiB, {before} at first"
    print(f"peak {peak} MiB, {before} MiB before")


async def _whole(http: httpx.AsyncClient, path: str) -> int:
    """Read an answer to its end, as soon as there is room for it; how many x it has. This process,
    in which the attackers are, too, may itself read so slowly that it has to give way: then the
    answer ends too early, which is an error here, and it is asked for again.
    """
    while True:
        with suppress(httpx.RemoteProtocolError):
            async with http.stream("GET", path) as answer:
                if answer.status_code == 200:
                    return sum([part.count(b"x") async for part in answer.aiter_bytes()])
                assert answer.status_code in {429, 503}
                assert int(answer.headers["Retry-After"]) > 0


async def _until_cancelled(attack: Coroutine[Any, Any, None]) -> None:
    with suppress(OSError):
        await attack
    await asyncio.Event().wait()


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _endless_headers(url: str) -> None:
    while True:
        with suppress(OSError):
            async with _connected(url) as (_, writer):
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
                for _ in range(10_000):
                    writer.write(b"X: %b\r\n" % (b"a" * 1000))
                    await writer.drain()
        await asyncio.sleep(0.2)


async def _half_open(url: str) -> None:
    async with _connected(url) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        await asyncio.Event().wait()


async def _read_nothing(url: str, path: str, headers: str = HEADERS) -> None:
    while True:
        with suppress(OSError):
            async with _connected(url) as (reader, writer):
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
                while not writer.transport.is_closing():
                    await asyncio.sleep(1)
                    writer.write(b" ")
                    await writer.drain()


async def _large_body(url: str, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\n{HEADERS}Content-Type: application/json\r\n"
    while True:
        with suppress(OSError):
            async with _connected(url) as (_, writer):
                writer.write(f"{head}Content-Length: {8 * MIB}\r\n\r\n".encode())
                for _ in range(8 * MIB // 65536 - 1):
                    writer.write(b" " * 65536)
                    await writer.drain()
                await asyncio.sleep(1)
