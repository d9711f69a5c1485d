"""Services that routes use, made once per server."""

from dataclasses import dataclass, replace
from typing import Annotated, Protocol, cast

import asyncpg
from fastapi import Depends, Request
from redis.asyncio import Redis

from execstream.config.identity import Identity
from execstream.config.settings import STRICT, Settings
from execstream.dashboard.feed.feed import Feed
from execstream.dashboard.known_tokens import KnownTokens
from execstream.dashboard.own_rows import OwnRows
from execstream.dashboard.quotas import Quotas
from execstream.dashboard.reads.error_families import ErrorFamilies
from execstream.dashboard.reads.graph_figures import GraphReads
from execstream.dashboard.reads.live_blocks import LiveBlocks
from execstream.dashboard.reads.minute_figures import MinuteReads
from execstream.dashboard.reads.spans_of_totals import SpansOfTotals
from execstream.dashboard.reads.unusual_subjects import UnusualSubjects
from execstream.kafka.cluster import Brokers
from execstream.streams.commands import Command
from execstream.streams.outcomes import Outcome
from execstream.streams.redriving import Redriven


class Sent(Protocol):
    """The position of a command in Kafka."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...


class CommandSender(Protocol):
    """Sends commands that were judged already.

    Raises streams.errors.NotDelivered when Kafka did not confirm one in time, and aiokafka's
    KafkaError when it does not take it.
    """

    async def send(
        self,
        command: Command,
        timeout: float,  # noqa: ASYNC109
        *,
        partition: int | None = None,
    ) -> Sent:
        """Return when Kafka has the command; `partition`: that of its run."""

    async def put(self, record: Redriven) -> Sent:
        """Put a record back that was a dead letter; return when Kafka has it."""

    async def call(self, command: Command, timeout: float) -> Outcome:  # noqa: ASYNC109
        """Send and wait for the outcome. Raises streams.errors.OutcomeUnknown when Kafka has it,
        and no reply came.
        """


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one running server.

    Attributes:
        texts: connections that hand JSON over as text, for answers of any size.
        lines: connections of the feed, for pages of journals.
    """

    settings: Settings
    db: asyncpg.Pool
    texts: asyncpg.Pool
    lines: asyncpg.Pool
    redis: Redis
    feed: Feed
    sender: CommandSender
    live_blocks: LiveBlocks
    brokers: Brokers
    quotas: Quotas
    tokens: KnownTokens
    identity: Identity
    unusual: UnusualSubjects
    errors: ErrorFamilies
    graphs: GraphReads
    spans: SpansOfTotals
    minute: MinuteReads


def services(request: Request) -> Services:
    """The services of the server that received the request, and reads as its user if tenancy is
    strict.
    """
    served = cast(Services, request.app.state.services)
    if served.settings.tenancy != STRICT:
        return served
    return replace(
        served,
        db=OwnRows(served.db, request.state),
        texts=OwnRows(served.texts, request.state),
        lines=OwnRows(served.lines, request.state),
    )


Served = Annotated[Services, Depends(services)]
