"""The client for producers: send commands, and receive their outcomes.

`send` returns once Kafka has the command; `call` waits for its outcome; the named methods of
`Writing` read like the functions they replace. One client serves any number of tasks of one event
loop, and batches the commands that they send at the same time.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from msgspec.structs import replace

from execstream.client.ids import uuid7
from execstream.client.named_writes import TIMEOUT, Writing
from execstream.client.receipt import Ledger, Receipt
from execstream.kafka.producer import Producer
from execstream.kafka.security import configure_security
from execstream.streams import exact_json
from execstream.streams.commands import Command, SetKeyValue, type_of
from execstream.streams.decoding import decode
from execstream.streams.errors import NotDelivered, OutcomeUnknown
from execstream.streams.outcomes import Outcome, described
from execstream.streams.redriving import Redriven
from execstream.streams.topics import COMMANDS

if TYPE_CHECKING:
    import asyncpg

    from execstream.client.replies import ReplyListener
    from execstream.client.result_reader import ResultReader
    from execstream.config.tracing import Tracer

AnyCommand = Mapping[str, Any] | Command

# With a worker running, a reply takes some 20 ms; Postgres is asked when it stays away.
FIRST_LOOK = 0.5  # seconds
LOOK_INTERVAL = 0.25  # seconds
LOOK_INTERVAL_WITHOUT_REPLIES = 0.05  # seconds

_KEY_VALUE = type_of(SetKeyValue)


class Sent(NamedTuple):
    """The position of a command in Kafka."""

    topic: str
    partition: int
    offset: int


class _Prepared(NamedTuple):
    command: Command
    key: bytes
    value: bytes


class ExecutionClient(Writing):
    """Sends commands and waits for their outcomes; used as `async with ExecutionClient() as …`.

    Addresses default to the settings of the environment, or to the local stack. Redis and Postgres
    are connected to when they are first needed: `send` needs neither. Leaving the context sends the
    commands that tasks still wait for.
    """

    def __init__(
        self,
        kafka_bootstrap: str | None = None,
        postgres_dsn: str | None = None,
        redis_url: str | None = None,
    ) -> None:
        # Imported here: pydantic takes longer to import than all the rest of the client.
        from execstream.config.settings import settings_at  # noqa: PLC0415 - imported late, see above

        self._settings = settings_at(
            ("kafka_bootstrap",),
            kafka_bootstrap=kafka_bootstrap,
            postgres_dsn=postgres_dsn,
            redis_url=redis_url,
        )
        configure_security(self._settings.kafka_security)
        self._topic = self._settings.topic_prefix + COMMANDS.name
        self._producer = Producer(self._settings.kafka, self._topic)
        self._tracer = self._opened_tracer()
        self._ledger = Ledger()
        self._listener: ReplyListener | None = None
        self._result_reader: ResultReader | None = None

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.close()
        if self._listener:
            await self._listener.close()
        if self._result_reader:
            await self._result_reader.close()
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)

    async def send(
        self,
        command: AnyCommand,
        timeout: float | None = None,  # noqa: ASYNC109 - callers think in seconds, not in scopes
        *,
        headers: Mapping[str, bytes] | None = None,
        partition: int | None = None,
    ) -> Sent:
        """Send a command; returns its place once Kafka has it.

        Args:
            command: a dict as in contract section 2, or one of `streams.commands`. `id` and `at`
                are filled in where a dict lacks them; NaN becomes null, and a Decimal a number.
            timeout: seconds; without it the call waits for an unavailable broker.
            headers: carried on to the events: `traceparent`, `tracestate`.
            partition: that of its run, where a foreign partitioner created it; by default that of
                the key. `call` and the named methods look it up.

        Raises:
            NotDelivered: Kafka did not confirm it for `timeout` seconds.
            ValueError: it would become a dead letter; nothing was sent.
            aiokafka.errors.KafkaError: Kafka did not take it.
        """
        prepared = self._prepare(command)
        try:
            async with asyncio.timeout(timeout):
                return await self._deliver(prepared, headers, partition, asked=False)
        except TimeoutError:
            raise NotDelivered(timeout or 0, prepared.command.id) from None

    async def call(
        self,
        command: AnyCommand,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
        *,
        headers: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """Send a command and wait until its outcome is known.

        A `reply_to` that the command names is replaced by the client's own.

        Raises:
            OutcomeUnknown: Kafka has it, but no reply came for `timeout` seconds.
            NotDelivered: Kafka did not confirm it for `timeout` seconds.
            ValueError: it would become a dead letter; nothing was sent.
            aiokafka.errors.KafkaError: Kafka did not take it.
        """
        answers = await self._replies()
        prepared = self._prepare(command, reply_to=answers.name)
        if self._tracer is None:
            return await self._call(prepared, answers, timeout, headers)
        with self._tracer.calling(type_of(type(prepared.command))):
            return await self._call(prepared, answers, timeout, headers)

    async def _call(
        self,
        prepared: _Prepared,
        answers: "ReplyListener",
        timeout: float,  # noqa: ASYNC109
        headers: Mapping[str, bytes] | None,
    ) -> Outcome:
        command_id = prepared.command.id
        begun = time.monotonic()
        sent: Sent | None = None
        outcome: Outcome | None = None
        try:
            async with asyncio.timeout(timeout), answers.expected(command_id) as reply:
                partition = await self._partition(prepared.command)
                sent = await self._deliver(prepared, headers, partition, asked=True)
                outcome = await self._outcome(prepared.command, sent, reply)
                self._ledger.note_outcome(outcome, time.monotonic() - begun)
                return outcome
        except TimeoutError:
            if sent is None:
                raise NotDelivered(timeout, command_id) from None
            raise OutcomeUnknown(command_id, timeout, (sent.partition, sent.offset)) from None
        finally:
            if sent is not None and outcome is None:
                self._ledger.note_unknown(prepared.command, sent)

    async def put(self, record: Redriven) -> Sent:
        """Put a record of any kind on the commands topic; its place, once Kafka has it.

        Raises NotDelivered, or aiokafka's KafkaError when Kafka does not take it.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                return Sent(self._topic, *await self._producer.send(*record))
        except TimeoutError:
            raise NotDelivered(TIMEOUT) from None

    async def receipt(self) -> Receipt:
        """Sum up the commands of this client by outcome; needs Postgres if an outcome is unknown.

        Print it for a line per figure.
        """
        return await self._ledger.receipt(self._results())

    async def database(self) -> "asyncpg.Pool":
        """The pool to read from, opened when it is first asked for."""
        return await self._results().pool()

    def _results(self) -> "ResultReader":
        """Reads of results in Postgres."""
        if self._result_reader is None:
            from execstream.client.result_reader import (  # noqa: PLC0415 - `send` needs no Postgres
                ResultReader,
            )

            self._result_reader = ResultReader(self._settings.postgres, self._settings.schema_)
        return self._result_reader

    def _prepare(self, command: AnyCommand, reply_to: str | None = None) -> _Prepared:
        """The record of a command. It is judged as the worker will judge it."""
        key, value = _record(command, reply_to)
        judged = decode(key, value, self._settings.max_command_bytes)
        if isinstance(judged, Command):
            return _Prepared(judged, key, value)
        raise ValueError(
            f"This would become a dead letter, {judged.reason}: {described(judged)}. "
            "Nothing was sent."
        )

    async def _partition(self, command: Command) -> int | None:
        """That of the run, which needs Postgres; None: that of the key."""
        if self._settings.postgres_dsn is None:
            return None
        return await self._results().partition(command)

    async def _deliver(
        self,
        prepared: _Prepared,
        headers: Mapping[str, bytes] | None,
        partition: int | None,
        *,
        asked: bool,
    ) -> Sent:
        command, key, value = prepared
        self._ledger.note_sent()
        given = headers or {}
        if self._tracer is None or "traceparent" in given:
            place = await self._producer.send(key, value, given.items(), partition)
        else:
            about = {
                "execstream.command.id": command.id,
                "execstream.command.type": type_of(type(command)),
            }
            with self._tracer.sending(self._topic, about) as carried:
                sent_headers = {**given, **carried}
                place = await self._producer.send(key, value, sent_headers.items(), partition)
        self._ledger.note_acknowledged(asked=asked)
        return Sent(self._topic, *place)

    def _opened_tracer(self) -> "Tracer | None":
        if self._settings.traces_url is None:
            return None
        from execstream.config.tracing import tracer_of  # noqa: PLC0415 - of an extra

        return tracer_of(self._settings, "client")

    async def _replies(self) -> "ReplyListener":
        if self._listener is None:
            from execstream.client.replies import ReplyListener  # noqa: PLC0415 - nor Redis

            self._listener = ReplyListener(self._settings.redis, self._settings.redis_prefix)
        await self._listener.ready()
        return self._listener

    async def _outcome(
        self, command: Command, sent: Sent, reply: asyncio.Future[Outcome]
    ) -> Outcome:
        """Return the reply or, when it stays away, the outcome recorded in Postgres, whichever
        comes first.
        """
        listening = self._listener is not None and self._listener.listening
        patience = FIRST_LOOK if listening else LOOK_INTERVAL_WITHOUT_REPLIES
        while not (await asyncio.wait([reply], timeout=patience))[0]:
            if outcome := await self._results().outcome(command, *sent):
                return outcome
            patience = LOOK_INTERVAL if listening else LOOK_INTERVAL_WITHOUT_REPLIES
        return reply.result()


def _record(command: AnyCommand, reply_to: str | None) -> tuple[bytes, bytes]:
    """Key and value, right or wrong."""
    if isinstance(command, Command):
        typed = replace(command, reply_to=reply_to or command.reply_to)
        return str(typed.key).encode(), exact_json.encode(typed)
    fields = {"id": uuid7(), "at": datetime.now(UTC), **command}
    if reply_to is not None:
        fields["reply_to"] = reply_to
    key = fields.get("user_id" if fields.get("type") == _KEY_VALUE else "graph_exec_id", "")
    return str(key).encode(), exact_json.encode(fields)
