"""Redriving dead letters: page by page, not faster than asked for, with a receipt of each.

Letters go in the order of their records, and each page is sent and marked before the next one is
looked at, so that whoever interrupts this has lost nothing and may begin again.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple

import asyncpg

from execstream.answers import recorded_outcome
from execstream.producer import Producer
from execstream.recovery.pace import Pace
from storage.dead_letters import Place, is_reached, letter_at, put_back
from streams.commands import Command
from streams.outcomes import Dead, Outcome, Refused
from streams.redriving import Letter, judge, redriven

PAGE = 100  # letters that are locked together
PATIENCE = 30.0  # seconds until an outcome that nobody tells counts as unknown
LOOK_INTERVAL = 0.05  # seconds


class Receipt(NamedTuple):
    """What became of a letter.

    Attributes:
        partition, offset: where the record is now.
        outcome: applied, duplicate, refused, dead or unknown.
        reason: why it was refused, or is dead again.
        dead_letter_id: the letter that it is now, if it is dead again.
    """

    id: str
    partition: int
    offset: int
    command_id: str | None
    outcome: str
    reason: str | None
    dead_letter_id: str | None


class Put(NamedTuple):
    """A letter that was put back, and what the worker will read there."""

    letter: Letter
    place: Place
    judged: Command | Dead


class Redriving:
    """Puts letters back and says what became of them."""

    def __init__(self, db: asyncpg.Pool, producer: Producer, topic: str, max_bytes: int) -> None:
        self._db = db
        self._producer = producer
        self._topic = topic
        self._max_bytes = max_bytes

    async def put(
        self, ids: Sequence[str], values: Mapping[str, bytes | None], *, again: bool
    ) -> list[Put]:
        """Put a page back; `values` are those that were edited. Letters that others have redriven
        meanwhile are left out."""

        async def send(letter: Letter) -> Place:
            record = redriven(letter, values.get(letter.id, letter.value))
            return await self._producer.send(*record)

        sent = await put_back(self._db, ids, send, again=again)
        return [
            Put(letter, place, judge(redriven(letter, value), self._max_bytes))
            for letter, place in sent
            for value in [values.get(letter.id, letter.value)]
        ]

    async def receipts(self, put: Sequence[Put]) -> AsyncGenerator[Receipt, None]:
        """The receipt of each, as soon as it is known. Once nothing was heard for PATIENCE seconds
        nobody is waited for any longer."""
        patience = PATIENCE
        for one in put:
            try:
                receipt = await asyncio.wait_for(self._receipt(one), patience)
            except TimeoutError:
                patience = LOOK_INTERVAL
                receipt = _receipt(one, "unknown")
            yield receipt

    async def _receipt(self, put: Put) -> Receipt:
        while not await is_reached(  # noqa: ASYNC110 - it happens in another process
            self._db, self._topic, put.place
        ):
            await asyncio.sleep(LOOK_INTERVAL)
        if dead := await letter_at(self._db, self._topic, put.place):
            return _receipt(put, "dead", dead.reason, dead.id)
        if not isinstance(put.judged, Command):
            return _receipt(put, "unknown")
        outcome = await recorded_outcome(self._db, put.judged, self._topic, *put.place)
        return _told(put, outcome)


def _told(put: Put, outcome: Outcome | None) -> Receipt:
    if outcome is None:  # its run was erased
        return _receipt(put, "unknown")
    reason = outcome.reason if isinstance(outcome, Refused) else None
    return _receipt(put, type(outcome).__name__.lower(), reason)


def _receipt(
    put: Put, outcome: str, reason: str | None = None, dead_letter_id: str | None = None
) -> Receipt:
    command_id = put.judged.id if isinstance(put.judged, Command) else None
    return Receipt(put.letter.id, *put.place, command_id, outcome, reason, dead_letter_id)


async def paced(ids: Sequence[str], rate: float) -> AsyncGenerator[Sequence[str], None]:
    """Pages of `ids`, so that no more than `rate` letters go per second; 0: as fast as it goes."""
    pace = Pace(rate)
    size = pace.burst(PAGE)
    for begin in range(0, len(ids), size):
        page = ids[begin : begin + size]
        await pace.wait(len(page))
        yield page
