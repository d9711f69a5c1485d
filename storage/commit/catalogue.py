"""Blocks, graphs and budgets, from the catalogue topic: tables block, graph, budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg

from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.streams.totals.budgets import Budget

Block = tuple[str, str, str]  # id, name, block_type
Graph = tuple[str, int, str, str | None]  # id, version, name, description

Entry = TypeVar("Entry")
Key = TypeVar("Key", str, tuple[str, int])

_COMMIT = "select commit_catalogue($1, $2, $3, $4, $5, $6, $7, $8, $9)"


@dataclass(slots=True)
class CatalogueChanges:
    """The last definition of each entry; None: it is removed."""

    blocks: dict[str, Block | None] = field(default_factory=dict)
    graphs: dict[tuple[str, int], Graph | None] = field(default_factory=dict)
    budgets: dict[str, Budget | None] = field(default_factory=dict)


async def commit_catalogue(
    connection: asyncpg.Connection,
    consumer: str,
    topic: str,
    offset_commits: Sequence[OffsetCommit],
    changes: CatalogueChanges,
) -> None:
    """Commit `changes` and the offsets together."""
    await connection.execute(
        _COMMIT,
        consumer,
        topic,
        [offset_commit.row() for offset_commit in offset_commits],
        _defined(changes.blocks),
        _defined(changes.graphs),
        _removed(changes.blocks),
        # A row of `graph` names an entry to remove; only its key counts.
        [(*key, "", None) for key in _removed(changes.graphs)],
        _defined(changes.budgets),
        _removed(changes.budgets),
    )


def _defined(entries: Mapping[Any, Entry | None]) -> list[Entry]:
    return [entry for _, entry in sorted(entries.items()) if entry is not None]


def _removed(entries: Mapping[Key, object | None]) -> list[Key]:
    return sorted(key for key, entry in entries.items() if entry is None)
