"""Bounds on the growth from one command: entries of the journal, and bytes that it repeats.

Bytes that come in are bounded elsewhere. A pin of nine bytes becomes an entry, an event and a
message, and one command about many steps repeats its stats for each. Documented in
`docs/contract.md`, section 2.
"""

from typing import NamedTuple

from msgspec import UNSET

from execstream.streams.commands import Command, CreateGraph, UpdateNodes
from execstream.streams.scanning import count_values

MAX_STARTING_NODES = 1_000
MAX_PINS = 1_000  # of a starting node
MAX_ENTRIES = 2_000  # of one command, but for the steps that the end of a run fails
MAX_VALUES = 1_000_000  # of a command's JSON, names in objects among them
MAX_REPEATED_BYTES = 4 * 1024 * 1024  # stats of a `node.update_many`, once for each step

GROWING = (CreateGraph, UpdateNodes)  # the commands that have bounds of their own


class Excess(NamedTuple):
    """The field where a command grows beyond a bound, and a sentence about it."""

    path: str
    message: str


def more_entries(command: CreateGraph | UpdateNodes) -> int:
    """The number of journal entries that `command` may make beyond the first."""
    if isinstance(command, UpdateNodes):
        return len(command.node_exec_ids) - 1
    nodes = command.starting_nodes
    return len(nodes) + sum([len(node.inputs) for node in nodes])


def more_bytes(command: CreateGraph | UpdateNodes) -> int:
    """Bytes of its stats, once for each step."""
    if isinstance(command, CreateGraph) or command.stats is UNSET:
        return 0
    return len(command.stats) * len(command.node_exec_ids)


def has_many_values(json: bytes) -> bool:
    """Return whether the JSON of a command has more than MAX_VALUES; cheap, to be asked first."""
    if len(json) <= MAX_VALUES:
        return False
    # Most large commands are text, of which a count over all bytes, strings included, is enough.
    marks = json.count(b",") + json.count(b":") + json.count(b"[") + json.count(b"{")
    return marks > MAX_VALUES and count_values(json) > MAX_VALUES


def excess(command: Command) -> Excess | None:
    """The first bound that `command` exceeds, beside that of its values."""
    if isinstance(command, CreateGraph):
        return _excess_of_nodes(command)
    if isinstance(command, UpdateNodes) and (found := more_bytes(command)) > MAX_REPEATED_BYTES:
        message = f"Expected at most {MAX_REPEATED_BYTES} bytes over all steps, found {found}"
        return Excess("$.stats", message)
    return None


def _excess_of_nodes(command: CreateGraph) -> Excess | None:
    nodes = command.starting_nodes
    if len(nodes) > MAX_STARTING_NODES:
        return Excess("$.starting_nodes", f"Expected at most {MAX_STARTING_NODES} nodes")
    for index, node in enumerate(nodes):
        if len(node.inputs) > MAX_PINS:
            path = f"$.starting_nodes[{index}].inputs"
            return Excess(path, f"Expected at most {MAX_PINS} pins")
    if (found := 1 + more_entries(command)) > MAX_ENTRIES:
        message = f"Expected at most {MAX_ENTRIES} entries, found {found}"
        return Excess("$.starting_nodes", message)
    return None
