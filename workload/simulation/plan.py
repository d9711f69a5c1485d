"""The plan of a graph for a walk, worked out once per graph.

Which links close a loop, which pins a step waits for, which output pins speak when.
"""

from collections import defaultdict
from dataclasses import dataclass

from execstream.workload.simulation.graphs import Graph, Link, Node

_TOOL = "tools_^_"
# Pins that have a value only after a failure.
_ERROR_PINS = frozenset(
    {
        "error",
        "Error",
        "missing",
        "client_error",
        "server_error",
        "stderr_logs",
        "No Keywords Found",
    }
)


@dataclass(frozen=True)
class Way:
    """A link by its number in the graph, and whether it leads back to where a walk came from."""

    number: int
    link: Link
    closes_a_loop: bool


@dataclass(frozen=True)
class NodePlan:
    """A node with its pins sorted by their role in a walk.

    A step is complete with a value on each of `static_pins` (kept from earlier steps or its
    own) and on each of `entry_pins`, or, in a later round of a loop, of `loop_pins`: those
    that only closing links feed.
    """

    node: Node
    is_start: bool
    static_pins: frozenset[str]
    entry_pins: frozenset[str]
    loop_pins: frozenset[str]
    ways: dict[str, tuple[Way, ...]]
    plain_pins: tuple[str, ...]
    back_pins: tuple[str, ...]
    error_pin: str
    tools: tuple[tuple[str, ...], ...]
    pin_name: str


@dataclass(frozen=True)
class GraphPlan:
    """`starts`: the nodes without an inbound link, which a run begins with."""

    graph: Graph
    nodes: dict[str, NodePlan]
    starts: tuple[NodePlan, ...]


def plan_of(graph: Graph) -> GraphPlan:
    """Work out the plan of a graph; its sub graphs get their own."""
    runnable = [node for node in graph.nodes if node.block_type != "NOTE"]
    closing = _closing_links(runnable, graph.links)
    inbound: defaultdict[str, list[Way]] = defaultdict(list)
    outbound: defaultdict[str, list[Way]] = defaultdict(list)
    for number, link in enumerate(graph.links):
        way = Way(number, link, number in closing)
        inbound[link.sink].append(way)
        outbound[link.source].append(way)
    nodes = {
        node.id: _node_plan(node, inbound[node.id], outbound[node.id], number)
        for number, node in enumerate(runnable, start=1)
    }
    starts = tuple(plan for plan in nodes.values() if plan.is_start)
    return GraphPlan(graph, nodes, starts)


def _node_plan(node: Node, inbound: list[Way], outbound: list[Way], number: int) -> NodePlan:
    fed: defaultdict[str, list[Way]] = defaultdict(list)
    for way in inbound:
        fed[way.link.sink_pin].append(way)
    static = frozenset(pin for pin, ways in fed.items() if all(way.link.static for way in ways))
    loop = frozenset(pin for pin, ways in fed.items() if all(way.closes_a_loop for way in ways))
    ways: defaultdict[str, list[Way]] = defaultdict(list)
    for way in outbound:
        ways[way.link.source_pin].append(way)
    error_pins = [pin for pin in ways if pin in _ERROR_PINS]
    plain_pins = [pin for pin in ways if pin not in _ERROR_PINS and not pin.startswith(_TOOL)]
    return NodePlan(
        node=node,
        is_start=not inbound,
        static_pins=static,
        entry_pins=frozenset(fed) - static - loop,
        loop_pins=loop - static,
        ways={pin: tuple(on_pin) for pin, on_pin in ways.items()},
        plain_pins=tuple(plain_pins),
        back_pins=tuple(p for p in plain_pins if all(way.closes_a_loop for way in ways[p])),
        error_pin=error_pins[0] if error_pins else "error",
        tools=_tools(ways),
        pin_name=f"{node.block_type.lower()}_{number}",
    )


def _tools(pins: dict[str, list[Way]]) -> tuple[tuple[str, ...], ...]:
    """The pins of each tool: `tools_^_<tool>_~_<argument>`."""
    tools: defaultdict[str, list[str]] = defaultdict(list)
    for pin in pins:
        if pin.startswith(_TOOL):
            tools[pin.partition("_~_")[0]].append(pin)
    return tuple(tuple(arguments) for arguments in tools.values())


def _closing_links(nodes: list[Node], links: tuple[Link, ...]) -> set[int]:
    """The links that lead back to a node on the path to their source, walked depth first."""
    onward: dict[str, list[int]] = {node.id: [] for node in nodes}
    for number, link in enumerate(links):
        onward[link.source].append(number)
    has_inbound = {link.sink for link in links}
    closing: set[int] = set()
    seen: set[str] = set()

    def walk(path: tuple[str, ...]) -> None:
        seen.add(path[-1])
        for number in onward[path[-1]]:
            sink = links[number].sink
            if sink in path:
                closing.add(number)
            elif sink not in seen:
                walk((*path, sink))

    for root in sorted(onward, key=has_inbound.__contains__):  # starting nodes first
        if root not in seen:
            walk((root,))
    return closing
