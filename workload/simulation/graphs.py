"""Graphs to walk: nodes running blocks, links from output pins to input pins, nested graphs.

The files are those of `examples/graphs` (its README describes their form).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

# Blocks that give several values on a pin, one after the other.
_VALUES_PER_PIN = {"StepThroughItemsBlock": 3, "AIListGeneratorBlock": 3}


class BadGraphError(ValueError):
    """A file that is not a graph, or a graph that cannot be walked."""


@dataclass(frozen=True)
class Node:
    """`emits`: the number of values that a step of it gives on each linked output pin."""

    id: str
    block_id: str
    block: str
    block_type: str
    sub_graph_id: str | None = None
    emits: int = 1


@dataclass(frozen=True)
class Link:
    """A static link keeps its value and uses it again for every later step of the sink."""

    source: str
    source_pin: str
    sink: str
    sink_pin: str
    static: bool = False


@dataclass(frozen=True)
class Graph:
    """`sub_graphs` are the graphs that AGENT nodes here and below run, at any depth."""

    id: str
    version: int
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    name: str = ""
    sub_graphs: tuple["Graph", ...] = field(default=())

    def find_sub_graph(self, node: Node) -> "Graph":
        """The graph that an AGENT node of this family runs, knowing the same family."""
        for graph in self.sub_graphs:
            if graph.id == node.sub_graph_id:
                return replace(graph, sub_graphs=self.sub_graphs)
        raise BadGraphError(
            f"node {node.id} of graph {self.name!r} runs graph {node.sub_graph_id}, which is not "
            "among its sub_graphs; add it there"
        )


def load_graphs(directory: Path) -> list[Graph]:
    """The graphs of all `*.json` files there, by file name.

    Raises:
        BadGraphError: no such file, one that is not a graph, a link or a sub graph that leads
            nowhere, a graph that runs itself.
    """
    files = sorted(directory.glob("*.json"))
    if not files:
        raise BadGraphError(f"{directory} holds no *.json file; name a directory of graphs")
    return [_load(file) for file in files]


def catalogue(graphs: Iterable[Graph]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Keys and values for `execution.catalogue.v1`: every block once, every graph, nested too."""
    blocks: set[str] = set()
    for graph in graphs:
        for each in (graph, *graph.sub_graphs):
            for node in each.nodes:
                if node.block_id not in blocks:
                    blocks.add(node.block_id)
                    yield f"block:{node.block_id}", _block(node)
            yield (
                f"graph:{each.id}:{each.version}",
                {
                    "type": "graph.define",
                    "graph_id": each.id,
                    "graph_version": each.version,
                    "name": each.name,
                },
            )


def _block(node: Node) -> dict[str, Any]:
    return {
        "type": "block.define",
        "block_id": node.block_id,
        "name": node.block,
        "block_type": node.block_type,
    }


def _load(file: Path) -> Graph:
    try:
        graph = msgspec.json.decode(file.read_bytes(), type=Graph)
    except (msgspec.DecodeError, OSError) as wrong:
        raise BadGraphError(f"{file} is no graph: {wrong}; mend it or move it away") from wrong
    graph = _named(graph, graph.name or file.stem)
    for each in (graph, *graph.sub_graphs):
        _must_hang_together(each, file)
    for node in graph.nodes:
        _must_not_run_itself(graph, node, (graph.id,))
    return graph


def _named(graph: Graph, name: str) -> Graph:
    nodes = tuple(replace(node, emits=_VALUES_PER_PIN.get(node.block, 1)) for node in graph.nodes)
    sub_graphs = tuple(
        _named(sub_graph, sub_graph.name or f"{name}/{number}")
        for number, sub_graph in enumerate(graph.sub_graphs, start=1)
    )
    return replace(graph, nodes=nodes, name=name, sub_graphs=sub_graphs)


def _must_hang_together(graph: Graph, file: Path) -> None:
    known = {node.id for node in graph.nodes}
    for link in graph.links:
        if link.source not in known or link.sink not in known:
            raise BadGraphError(
                f"{file}: the link from {link.source} to {link.sink} leads to a node that graph "
                f"{graph.id} does not have; take the link out or add the node"
            )


def _must_not_run_itself(family: Graph, node: Node, above: tuple[str, ...]) -> None:
    if node.block_type != "AGENT":
        return
    graph = family.find_sub_graph(node)
    if graph.id in above:
        raise BadGraphError(
            f"graph {family.name!r} never ends: its node {node.id} runs graph {graph.id}, which "
            "runs that node; give the node another sub_graph_id"
        )
    for inner in graph.nodes:
        _must_not_run_itself(family, inner, (*above, graph.id))
