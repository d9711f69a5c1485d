"""The wire that the trials of network faults use."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from execstream.devstack.ports import HOST
from tests.faults.needs import Unavailable
from tests.faults.wire import Rules, Wire, wire
from tests.worker import until

_CALLER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as server:
    for line in sys.stdin:
        server.sendall(line.encode())
        print(server.recv(100).decode(), end="", flush=True)
"""


@pytest.fixture
async def line() -> AsyncIterator[Wire]:
    try:
        async with wire(1) as made:
            yield made
    except Unavailable as reason:
        pytest.skip(str(reason))


async def test_a_cut_in_one_direction(line: Wire) -> None:
    """The server gets what the namespace sends, whose end gets no answer before the cut ends."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while sent := await reader.readline():
            received.append(sent)
            writer.write(sent)
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    caller = await asyncio.create_subprocess_exec(
        *(*line.within, sys.executable, "-u", "-c", _CALLER, HOST, str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert caller.stdin is not None
    assert caller.stdout is not None
    caller.stdin.write(b"one\n")
    assert await caller.stdout.readline() == b"one\n"

    line.follow(Rules(cut_from=[port]))
    caller.stdin.write(b"two\n")

    async def has_both() -> bool:
        return received == [b"one\n", b"two\n"]

    await until(has_both)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(answer := _read(caller.stdout)), 1.0)
    line.follow(Rules())
    assert await answer == b"two\n"
    caller.stdin.close()
    await caller.wait()
    server.close()


def _read(stream: asyncio.StreamReader) -> "asyncio.Task[bytes]":
    return asyncio.create_task(stream.readline())
