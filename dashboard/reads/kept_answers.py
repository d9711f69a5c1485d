"""Answers that are kept for a while, since every open page asks for the same ones."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Kept(Generic[Answer]):
    """An answer, and until when it is valid; concurrent callers wait for one query."""

    seconds: float
    ask: Callable[[], Awaitable[Answer]]
    until: float = 0.0
    answer: Answer | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self) -> Answer:
        async with self.lock:
            if self.answer is None or time.monotonic() >= self.until:
                self.answer = await self.ask()
                self.until = time.monotonic() + self.seconds
            return self.answer
