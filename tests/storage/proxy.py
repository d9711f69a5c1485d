"""A cable to a server that tests may pull out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Cable:
    """Passes bytes on to a server, unless it is `cut` or `blocked`.

    A cut ends all connections and rejects new ones; a block lets them hang.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self._target = (host, port)
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_cut = False

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._writers)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.cut()
        self._flows.set()
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Pull it out."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def block(self) -> None:
        """Pass nothing on, without closing a connection."""
        self._flows.clear()

    def hang(self) -> None:
        """End all connections; new ones are taken, and nothing comes of them."""
        self.cut()
        self._is_cut = False
        self.block()

    def mend(self) -> None:
        """Let connections through."""
        self._is_cut = False
        self._flows.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        ends = {writer, there_writer}
        self._writers |= ends
        with suppress(OSError):
            await asyncio.gather(
                self._pass_on(reader, there_writer), self._pass_on(there_reader, writer)
            )
        for end in ends:
            end.transport.abort()
        self._writers -= ends

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError  # one end is gone: so is the other


@asynccontextmanager
async def cable(url: str) -> AsyncIterator[tuple[Cable, str]]:
    """A cable to the server of `url`, and the URL of its near end."""
    parts = urlsplit(url)
    between = Cable(parts.hostname or "", parts.port or 0)
    await between.open()
    try:
        user, at, _ = parts.netloc.rpartition("@")
        yield between, parts._replace(netloc=f"{user}{at}127.0.0.1:{between.port}").geturl()
    finally:
        await between.close()
