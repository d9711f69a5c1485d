"""Names and kinds of blocks and graphs, from the catalogue topic: tables block, graph."""

from collections.abc import Mapping, Sequence

import asyncpg

from execstream.storage.commit.consumer_offsets import OffsetCommit

Block = tuple[str, str, str]  # id, name, block_type
Graph = tuple[str, int, str, str | None]  # id, version, name, description

_COMMIT = "select commit_catalogue($1, $2, $3, $4, $5, $6, $7)"


async def commit_catalogue(
    connection: asyncpg.Connection,
    consumer: str,
    topic: str,
    offset_commits: Sequence[OffsetCommit],
    blocks: Mapping[str, Block | None],
    graphs: Mapping[tuple[str, int], Graph | None],
) -> None:
    """Commit the new state of blocks and graphs (None: removed) and the offsets together."""
    await connection.execute(
        _COMMIT,
        consumer,
        topic,
        [offset_commit.row() for offset_commit in offset_commits],
        [block for _, block in sorted(blocks.items()) if block is not None],
        [graph for _, graph in sorted(graphs.items()) if graph is not None],
        sorted(key for key, block in blocks.items() if block is None),
        # A row of `graph` names an entry to remove; only its key counts.
        [(*key, "", None) for key, graph in sorted(graphs.items()) if graph is None],
    )
