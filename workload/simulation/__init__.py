"""Load like real load: runs of real graphs, walked by the rules of `docs/simulation.md`.

For the demo, tests and benchmarks. Deterministic: everything comes from one seed. It knows
nothing of Kafka; it makes the records that a producer then sends. Payloads are prose of
realistic sizes, not of realistic meaning.
"""

from execstream.workload.simulation.graphs import (
    BadGraphError,
    Graph,
    Link,
    Node,
    catalogue,
    load_graphs,
)
from execstream.workload.simulation.mix import Mix
from execstream.workload.simulation.simulate import Simulation, simulate
from execstream.workload.simulation.wire import Sent, read_lines, write_lines

__all__ = [
    "BadGraphError",
    "Graph",
    "Link",
    "Mix",
    "Node",
    "Sent",
    "Simulation",
    "catalogue",
    "load_graphs",
    "read_lines",
    "simulate",
    "write_lines",
]
