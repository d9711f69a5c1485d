"""A reader of server-sent events that can be as slow and as rude as any browser."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

import msgspec

PATIENCE = 30.0  # seconds

_decode = msgspec.json.Decoder().decode


class Frame(NamedTuple):
    """One frame; `data` is decoded."""

    id: str
    event: str
    data: Any


class Subscription:
    """One connection to `/v1/stream`."""

    def __init__(self, url: str, last_id: str = "", secret: str = "", **scope: str) -> None:
        self._url = urlsplit(url)
        self._path = f"/v1/stream?{urlencode(scope)}"
        self._headers = {"Host": self._url.netloc}
        if last_id:
            self._headers["Last-Event-ID"] = last_id
        if secret:
            self._headers["Authorization"] = f"Bearer {secret}"
        self.last_id = last_id
        self._begun = bytearray()
        self.decode: Callable[[bytes], Any] = _decode

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            self._url.hostname, self._url.port, limit=2**24
        )
        lines = [f"GET {self._path} HTTP/1.1", *map(": ".join, self._headers.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode())
        answer = await self._reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    def stop_reading(self) -> None:
        """Take nothing more from the network."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined] # it can read

    def go_on_reading(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined] # it can read

    async def next(self, *events: str) -> Frame:
        """The next frame, of these kinds if any are named."""
        async with asyncio.timeout(PATIENCE):
            while True:
                frame = _frame(await self._text(), self.decode)
                if frame is not None:
                    self.last_id = frame.id
                    if not events or frame.event in events:
                        return frame

    async def events(self, count: int) -> list[Any]:
        """The data of the next so many events."""
        return [(await self.next("event")).data for _ in range(count)]

    async def _text(self) -> bytes:
        """The next frame as it came, out of the chunks that carry the stream."""
        seen = 0
        while (end := self._begun.find(b"\n\n", seen)) < 0:
            seen = max(len(self._begun) - 1, 0)
            size = int(await self._reader.readline(), 16)
            assert size, "the server has ended the stream"
            self._begun += (await self._reader.readexactly(size + 2))[:-2]
        text = bytes(self._begun[:end])
        del self._begun[: end + 2]
        return text

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while True:
            yield await self.next()


def _frame(text: bytes, decode: Callable[[bytes], Any]) -> Frame | None:
    """None for a frame without data, such as the time to wait before coming back."""
    fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if line)
    if "event" not in fields:
        return None
    return Frame(fields["id"], fields["event"], decode(fields["data"].encode()))
