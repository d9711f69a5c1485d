"""TLS before a server that has none: it ends here, and nothing passes without it.

The packages of Postgres and Valkey that tests run are built without TLS.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from execstream.devstack.ports import HOST

_SSL_REQUEST = (8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big")  # of Postgres' protocol
_CHUNK = 64 * 1024


@asynccontextmanager
async def tls_front(address: str, context: ssl.SSLContext) -> AsyncIterator[str]:
    """The host and port at which the server of `address` answers over TLS only."""
    parts = urlsplit(address)
    asks_first = parts.scheme.startswith("postgres")
    passing: set[asyncio.Task[None]] = set()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        passing.add(task)
        task.add_done_callback(passing.discard)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if asks_first:
                if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                    writer.close()
                    return
                writer.write(b"S")
                await writer.start_tls(context)
            theirs, ours = await asyncio.open_connection(parts.hostname, parts.port)
            await asyncio.gather(_pass(reader, ours), _pass(theirs, writer))

    server = await asyncio.start_server(taken, HOST, 0, ssl=None if asks_first else context)
    try:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
