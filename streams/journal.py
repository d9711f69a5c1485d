"""Journal entries: the changes of a run, in order.

Entries are the truth. Rows are folds of them, events are their public form, and a run's state is
the result of `fold.evolve`.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from execstream.streams.statuses import ExecutionStatus


class EntryType(StrEnum):
    GRAPH_CREATED = "graph.created"
    GRAPH_UPDATED = "graph.updated"
    GRAPH_SHARED = "graph.shared"
    GRAPH_DELETED = "graph.deleted"
    NODE_ADDED = "node.added"
    NODE_INPUT_ADDED = "node.input_added"
    NODE_OUTPUT_ADDED = "node.output_added"
    NODE_UPDATED = "node.updated"


class Detail(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Fields of an entry that the fold needs beyond its columns; each type uses a few of these."""

    # graph.created
    user_id: str | UnsetType = UNSET
    graph_id: str | UnsetType = UNSET
    graph_version: int | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET
    credential_inputs: Raw | UnsetType = UNSET
    nodes_input_masks: Raw | UnsetType = UNSET
    preset_id: str | UnsetType = UNSET
    parent_graph_exec_id: str | UnsetType = UNSET
    dry_run: bool = False
    attributes: Raw | UnsetType = UNSET
    # graph.updated: the run (re)started at this entry's time
    started: bool = False
    # graph.shared
    is_shared: bool = False
    share_token_hash: str | UnsetType = UNSET
    # graph.deleted
    hard: bool = False
    # node.added
    node_id: str | UnsetType = UNSET
    block_id: str | UnsetType = UNSET
    # *.updated
    stats: Raw | UnsetType = UNSET
    execution_data: Raw | UnsetType = UNSET
    # any type: `at` was more than an hour ahead of the append time of the record
    skewed: bool = False
    # any type: the mark of an imported command (`streams.imported`)
    imported: str = ""
    # the first entry of a node.update_many: steps not moved, with their status
    skipped: dict[str, str | None] | UnsetType = UNSET


NO_DETAIL = Detail()


class Entry(Struct):
    """One line of a run's journal. `was` and `status` are set only when the status changed."""

    seq: int
    type: EntryType
    at: datetime
    command_id: str
    node_exec_id: str | None = None
    name: str | None = None
    data: Raw | None = None
    was: ExecutionStatus | None = None
    status: ExecutionStatus | None = None
    detail: Detail = NO_DETAIL


def mark_skewed(entries: Iterable[Entry]) -> None:
    """Note in `entries` that their time is too far ahead to be counted among recent ones."""
    for entry in entries:
        entry.detail = replace(entry.detail, skewed=True)
