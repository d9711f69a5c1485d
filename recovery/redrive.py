"""Redriving dead letters: page by page, not faster than asked for, with a receipt of each.

Letters go in the order of their records, and each page is sent and marked before the next one is
read, so that an interruption loses nothing, and the operator may begin again.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple

import asyncpg

from execstream.kafka.producer import Producer
from execstream.kafka.reader import consumer, unlimited
from execstream.recovery.rate_limit import RateLimiter
from execstream.storage.log.dead_letters import RecordPosition, is_reached, letter_at, put_back
from execstream.storage.log.outcomes import recorded_outcome
from execstream.storage.log.run_partitions import at_its_run
from execstream.streams.commands import Command, RunCommand
from execstream.streams.omitted import OmittedValue
from execstream.streams.outcomes import Dead, DeadReason, Outcome, Refused
from execstream.streams.redriving import (
    Letter,
    judge,
    not_kept,
    read_again,
    redriven,
    unread_offsets,
)

PAGE = 100  # letters that are locked together
PATIENCE = 30.0  # seconds until an outcome without a record counts as unknown
LOOK_INTERVAL = 0.05  # seconds


class Receipt(NamedTuple):
    """The result of redriving a letter.

    Attributes:
        partition, offset: the new position of the record.
        outcome: applied, duplicate, refused, dead or unknown.
        reason: of the refusal, or of the new dead letter.
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
    """A letter that was put back; `was_at`: topic, partition and offset of its record. `command`:
    the command that the worker will read there, without payload; None where it is not one. `dead`:
    the reason why it could not be put back, and stayed.
    """

    id: str
    was_at: tuple[str, int, int]
    place: RecordPosition
    command: Command | None
    dead: DeadReason | None = None


async def comes(db: asyncpg.Pool, topic: str, place: RecordPosition) -> bool:
    """Return whether the workers reach that position within PATIENCE seconds."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not await is_reached(db, topic, place):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(LOOK_INTERVAL)
    except TimeoutError:
        return False
    return True


class Redriving:
    """Puts letters back and reports the outcome of each.

    Attributes:
        done: letters put back so far, whatever happened since.
    """

    def __init__(
        self, db: asyncpg.Pool, producer: Producer, bootstrap: str, topic: str, max_bytes: int
    ) -> None:
        self._db = db
        self._bootstrap = bootstrap
        self._producer = producer
        self._topic = topic
        self._max_bytes = max_bytes
        self.done: list[Put] = []
        self._in_order = asyncio.Lock()

    async def put(
        self, ids: Sequence[str], values: Mapping[str, bytes | None], *, again: bool
    ) -> None:
        """Put a page back; `values` are those that were edited. Letters that others have redriven
        meanwhile are left out."""

        async def send(letter: Letter) -> RecordPosition:
            value = values.get(letter.id, letter.value)
            if unread_offsets(letter) and not value:
                return await self._send_unread(letter)
            return await self._send(letter, value)

        await put_back(self._db, ids, send, again=again)

    async def _send(self, letter: Letter, value: bytes | None) -> RecordPosition:
        record = redriven(letter, value)
        async with self._in_order:  # letters of one run, which are sent at once, keep their order
            record = await at_its_run(self._db, record)
            sending = asyncio.create_task(self._producer.send(*record))
        place = await sending
        judged = judge(record, self._max_bytes)
        self.done.append(Put(letter.id, letter[1:4], place, nameable(judged)))
        return place

    async def _send_unread(self, letter: Letter) -> RecordPosition:
        """Send the records that `letter` stands for, which are read again; the place of the last.

        Raises:
            NotKept: the topic has none of them any more.
        """
        place: RecordPosition | None = None
        offsets = unread_offsets(letter)
        async with consumer(self._bootstrap) as reader:
            async for some in unlimited(reader, letter.topic, letter.partition, offsets):
                found = [one for one in some if one.offset in offsets]
                for one in found:
                    if isinstance(one.value, OmittedValue):
                        at = (letter.partition, one.offset)
                        put = Put(letter.id, (letter.topic, *at), at, None, DeadReason.TOO_LARGE)
                        self.done.append(put)
                kept = [one for one in found if not isinstance(one.value, OmittedValue)]
                sent = await asyncio.gather(
                    *(self._send(read_again(letter, one), one.value) for one in kept)
                )
                place = sent[-1] if sent else place
        if place is None:
            raise not_kept([letter.id])
        return place

    async def receipts(self) -> AsyncGenerator[Receipt, None]:
        """Yield the receipt of each letter that was put back, in the order of the letters, as soon
        as it is known. After PATIENCE seconds without progress, no further letter is waited for.
        """
        is_waiting = True
        for one in sorted(self.done, key=lambda put: put.was_at):
            is_there = await is_reached(self._db, self._topic, one.place)
            if is_waiting and not is_there:
                is_waiting = is_there = await comes(self._db, self._topic, one.place)
            yield await self._receipt(one) if is_there else unknown(one)

    async def _receipt(self, put: Put) -> Receipt:
        if put.dead is not None:
            return _receipt(put, "dead", put.dead)
        if dead := await letter_at(self._db, self._topic, put.place):
            return _receipt(put, "dead", dead.reason, dead.id)
        if put.command is None:
            return unknown(put)
        return _receipt_of(
            put, await recorded_outcome(self._db, put.command, self._topic, *put.place)
        )


def unknown(put: Put) -> Receipt:
    """The receipt while nothing is known."""
    return _receipt(put, "unknown")


def nameable(judged: Command | Dead) -> Command | None:
    """The fields that find an outcome: letters of megabytes would not all fit into memory."""
    if isinstance(judged, Dead):
        return None
    if isinstance(judged, RunCommand):
        return RunCommand(
            id=judged.id,
            at=judged.at,
            user_id=judged.user_id,
            graph_exec_id=judged.graph_exec_id,
        )
    return Command(id=judged.id, at=judged.at, user_id=judged.user_id)


def _receipt_of(put: Put, outcome: Outcome | None) -> Receipt:
    if outcome is None:  # its run was erased
        return unknown(put)
    reason = outcome.reason if isinstance(outcome, Refused) else None
    return _receipt(put, type(outcome).__name__.lower(), reason)


def _receipt(
    put: Put, outcome: str, reason: str | None = None, dead_letter_id: str | None = None
) -> Receipt:
    command_id = None if put.command is None else put.command.id
    return Receipt(put.id, *put.place, command_id, outcome, reason, dead_letter_id)


async def paced(ids: Sequence[str], rate: float) -> AsyncGenerator[Sequence[str], None]:
    """Pages of `ids`, so that no more than `rate` letters go per second; 0: as fast as it goes."""
    limiter = RateLimiter(rate)
    size = limiter.burst(PAGE)
    for begin in range(0, len(ids), size):
        page = ids[begin : begin + size]
        await limiter.wait(len(page))
        yield page
