"""Graphs of one plain shape, for measurements: a chain, fan-outs, a parent of three, a node."""

from itertools import pairwise
from uuid import NAMESPACE_URL, uuid5

from execstream.workload.simulation.graphs import Graph, Link, Node


def chain(length: int = 5) -> Graph:
    """One step after the other."""
    name = f"chain-{length}"
    nodes = [_node(name, index) for index in range(length)]
    links = [_link(one, next_) for one, next_ in pairwise(nodes)]
    return _graph(name, nodes, links)


def fan_out(width: int = 20) -> Graph:
    """One node that feeds `width` others."""
    name = f"fan-out-{width}"
    nodes = [_node(name, index) for index in range(width + 1)]
    return _graph(name, nodes, [_link(nodes[0], leaf) for leaf in nodes[1:]])


def map_over(items: int = 200) -> Graph:
    """One node that gives `items` values, each of which is a step of the next node."""
    name = f"map-{items}"
    nodes = [_node(name, 0, emits=items), _node(name, 1)]
    return _graph(name, nodes, [_link(*nodes)])


def parent_of(children: int = 3) -> Graph:
    """One node that feeds `children` agents, each running a chain of its own."""
    name = f"parent-of-{children}"
    child = chain(3)
    agents = [_node(name, n, "AGENT", sub_graph_id=child.id) for n in range(1, children + 1)]
    first = _node(name, 0)
    links = [_link(first, agent) for agent in agents]
    return _graph(name, [first, *agents], links, (child,))


def single() -> Graph:
    """One node."""
    return _graph("single", [_node("single", 0)], [])


def all_shapes() -> list[Graph]:
    """Every shape in the size that measurements use."""
    return [chain(), fan_out(), map_over(), parent_of(), single()]


def _node(
    shape: str,
    index: int,
    block_type: str = "STANDARD",
    *,
    emits: int = 1,
    sub_graph_id: str | None = None,
) -> Node:
    block = "AgentExecutorBlock" if block_type == "AGENT" else "PlainBlock"
    return Node(
        id=_id(f"{shape}/{index}"),
        block_id=_id(block),
        block=block,
        block_type=block_type,
        sub_graph_id=sub_graph_id,
        emits=emits,
    )


def _link(source: Node, sink: Node) -> Link:
    return Link(source.id, "result", sink.id, "value")


def _graph(
    name: str, nodes: list[Node], links: list[Link], sub_graphs: tuple[Graph, ...] = ()
) -> Graph:
    return Graph(_id(name), 1, tuple(nodes), tuple(links), name, sub_graphs)


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"execstream:shapes/{name}"))
