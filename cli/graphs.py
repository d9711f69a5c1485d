"""The graphs that `simulate` and `demo` walk."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from execstream.streams.errors import Fatal
from execstream.workload.simulation import BadGraphError, Graph, load_graphs

Graphs = Annotated[Path, Parameter(show_default=lambda _: "examples/graphs")]


class BadGraphs(Fatal):
    """A directory of graphs that cannot be walked."""


def read_graphs(directory: Path) -> list[Graph]:
    """The graphs of a directory; BadGraphs when there are none or one is wrong."""
    try:
        return load_graphs(directory)
    except BadGraphError as error:
        raise BadGraphs(f"{error}.") from error
