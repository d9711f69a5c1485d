"""The agent that keeps the tables `block` and `graph` as the catalogue topic has them.

Runs in workers of role `apply`. A record that defines nothing is logged and stepped over: names
are for people, no rule depends on them, and the topic keeps it.
"""

import asyncio
from typing import Any

import structlog

from execstream.agents.config import WorkerConfig
from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.partition_buffer import Batch, Intake
from execstream.agents.runtime.retries import is_transient, note_retry, pauses
from execstream.agents.runtime.stored_offsets import PostgresPositions
from execstream.storage.commit.catalogue import Block, Graph, commit_catalogue
from execstream.storage.commit.consumer_offsets import FENCED, Move, sqlstate
from execstream.storage.lines import Line
from execstream.streams.catalogue import (
    BlockKey,
    DefineBlock,
    DefineGraph,
    NotInCatalogue,
    decode_catalogue,
)
from execstream.streams.topics import CATALOGUE

log = structlog.get_logger(__name__)

CONSUMER = "catalogue"

Blocks = dict[str, Block | None]
Graphs = dict[tuple[str, int], Graph | None]


def declare(app: App, config: WorkerConfig) -> None:
    """Declare the agent on `app`."""
    line = Line(config.postgres_dsn, config.schema)
    claims = Line(config.postgres_dsn, config.schema)
    intake = Intake(config.topic_prefix + CATALOGUE.name, PostgresPositions(claims, CONSUMER))

    @app.agent(app.read(intake), name="read_catalogue")
    async def read_catalogue(stream: Any) -> None:
        queue = stream.channel.queue
        async for event in stream.noack().events():
            intake.receive(event.value)
            while batch := await intake.take(queue, config.batch_records):
                await _commit(intake, line, batch)

    async def close() -> None:
        await line.close()
        await claims.close()

    app.on_close(close)


async def _commit(intake: Intake, line: Line, batch: Batch) -> None:
    blocks, graphs, moves = _fold(batch)
    for pause in pauses():
        if not intake.owns(batch):
            return
        try:
            await commit_catalogue(await line.get(), CONSUMER, intake.topic, moves, blocks, graphs)
            break
        except Exception as error:
            if sqlstate(error) == FENCED:
                line.hang_up()  # it knows types of the schema that was
                intake.give_up(batch)
                return
            if not is_transient(error):
                raise
            note_retry("catalogue", error)
            line.hang_up()
            await asyncio.sleep(pause)
    batch.settle()


def _fold(batch: Batch) -> tuple[Blocks, Graphs, list[Move]]:
    """The last word on each entry."""
    blocks: Blocks = {}
    graphs: Graphs = {}
    moves = []
    for portion in batch:
        owned = portion.owned
        move = Move(
            owned.number, portion.expected, owned.epoch, portion.next_offset, *owned.published
        )
        for record in portion.records:
            try:
                key, definition = decode_catalogue(record.key, record.value)
            except NotInCatalogue as error:
                log.warning("not_in_catalogue", offset=record.offset, error=str(error)[:200])
                move.dead += 1
                continue
            move.applied += 1
            if isinstance(key, BlockKey):
                blocks[key.id] = _block(definition)
            else:
                graphs[key] = _graph(definition)
        moves.append(move)
    return blocks, graphs, moves


def _block(definition: Any) -> Block | None:
    if isinstance(definition, DefineBlock):
        return definition.block_id, definition.name, definition.block_type
    return None


def _graph(definition: Any) -> Graph | None:
    if isinstance(definition, DefineGraph):
        return (
            definition.graph_id,
            definition.graph_version,
            definition.name,
            definition.description,
        )
    return None
