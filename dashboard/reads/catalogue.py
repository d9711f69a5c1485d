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


_GRAPHS = """
select id as graph_id, version as graph_version, name, description from graph
 where $1::text is null or (id, version) in (
    select graph_id, graph_version from graph_execution where user_id = $1 and not is_deleted
 )
 order by name, id, version desc
"""


async def list_graphs(db: asyncpg.Pool, user_id: str | None) -> list[Graph]:
    """All graphs, or those that a user has runs of, by name; the newest version first."""
    return [Graph(**row) for row in await db.fetch(_GRAPHS, user_id)]


async def catalogue_position(db: asyncpg.Pool) -> int:
    """The position in the catalogue's topic; cached blocks are valid until that moves."""
    place = await db.fetchval(
        "select sum(next_offset)::bigint from consumer_offset where consumer = 'catalogue'"
    )
    return place or 0
