"""The names that the catalogue has for ids."""

import asyncpg
from pydantic import BaseModel


class Block(BaseModel):
    """A block's name and kind."""

    block_id: str
    name: str
    block_type: str


class Graph(BaseModel):
    """The name of one version of a graph."""

    graph_id: str
    graph_version: int
    name: str
    description: str | None


async def list_blocks(db: asyncpg.Pool) -> list[Block]:
    """All blocks, by name."""
    rows = await db.fetch("select id as block_id, name, block_type from block order by name, id")
    return [Block(**row) for row in rows]


async def list_graphs(db: asyncpg.Pool) -> list[Graph]:
    """All graphs, by name; the newest version first."""
    rows = await db.fetch(
        """select id as graph_id, version as graph_version, name, description
             from graph order by name, id, version desc"""
    )
    return [Graph(**row) for row in rows]
