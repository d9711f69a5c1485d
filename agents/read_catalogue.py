"""The agent that keeps the tables `block`, `graph` and `budget` as the catalogue topic has them.

Runs in workers of role `apply`. A record that defines nothing is logged and stepped over: names
are for people, no rule depends on them, and the topic keeps it.
"""

from typing import Any

import structlog

from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.fencing import retry_while_owned
from execstream.agents.runtime.partition_buffer import Batch, PartitionBuffer
from execstream.agents.runtime.stored_offsets import PostgresPositions
from execstream.config.settings import Settings
from execstream.storage.commit.catalogue import Block, CatalogueChanges, Graph, commit_catalogue
from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.connections import Session
from execstream.streams.catalogue import (
    BlockKey,
    BudgetKey,
    CatalogueKey,
    DefineBlock,
    DefineBudget,
    DefineGraph,
    Definition,
    NotInCatalogue,
    decode_catalogue,
)
from execstream.streams.topics import CATALOGUE
from execstream.streams.totals.budgets import Budget

log = structlog.get_logger(__name__)

CONSUMER = "catalogue"


def declare(app: App, settings: Settings) -> None:
    """Declare the agent on `app`."""
    session = Session(settings.postgres, settings.schema_)
    claims = Session(settings.postgres, settings.schema_)
    buffer = PartitionBuffer(
        settings.topic_prefix + CATALOGUE.name, PostgresPositions(claims, CONSUMER)
    )

    @app.agent(app.read(buffer), name="read_catalogue")
    async def read_catalogue(stream: Any) -> None:
        queue = stream.channel.queue
        async for event in stream.noack().events():
            buffer.receive(event.value)
            while batch := await buffer.poll_batch(queue):
                await _commit(buffer, session, batch)

    async def close() -> None:
        await session.close()
        await claims.close()

    app.on_close(close)


async def _commit(buffer: PartitionBuffer, session: Session, batch: Batch) -> None:
    changes, offset_commits = _fold(batch)

    async def commit() -> None:
        await commit_catalogue(await session.get(), CONSUMER, buffer.topic, offset_commits, changes)

    if await retry_while_owned("catalogue", commit, buffer, batch, session):
        batch.mark_committed()


def _fold(batch: Batch) -> tuple[CatalogueChanges, list[OffsetCommit]]:
    """The last word on each entry."""
    changes = CatalogueChanges()
    offset_commits = []
    for part in batch:
        owned = part.owned
        offset_commit = OffsetCommit(
            owned.number, part.expected, owned.epoch, part.next_offset, *owned.published
        )
        for record in part.records:
            try:
                key, definition = decode_catalogue(record.key, record.value)
            except NotInCatalogue as error:
                log.warning("not_in_catalogue", offset=record.offset, error=str(error)[:200])
                offset_commit.dead += 1
                continue
            offset_commit.applied += 1
            _change(changes, key, definition)
        offset_commits.append(offset_commit)
    return changes, offset_commits


def _change(changes: CatalogueChanges, key: CatalogueKey, definition: Definition | None) -> None:
    if isinstance(key, BlockKey):
        changes.blocks[key.id] = _block(definition)
    elif isinstance(key, BudgetKey):
        changes.budgets[key.id] = _budget(definition)
    else:
        changes.graphs[key] = _graph(definition)


def _block(definition: Definition | None) -> Block | None:
    if isinstance(definition, DefineBlock):
        return definition.block_id, definition.name, definition.block_type
    return None


def _graph(definition: Definition | None) -> Graph | None:
    if isinstance(definition, DefineGraph):
        return (
            definition.graph_id,
            definition.graph_version,
            definition.name,
            definition.description,
        )
    return None


def _budget(definition: Definition | None) -> Budget | None:
    if isinstance(definition, DefineBudget):
        return Budget(
            definition.budget_id,
            definition.per,
            definition.cost,
            definition.action,
            definition.graph_id,
            definition.user_id,
        )
    return None
