"""Scopes: which events a stream tells."""

from dataclasses import dataclass
from itertools import product

from msgspec import UNSET

from execstream.streams.events import Event


@dataclass(frozen=True, slots=True)
class Scope:
    """Events of one user, graph or run, or of all; what is given must hold together.

    Refusals name no graph, key-values neither graph nor run. `types` is the beginning of what
    events are, before the dot; only "graph" is one.
    """

    user_id: str | None = None
    graph_id: str | None = None
    graph_exec_id: str | None = None
    types: str | None = None


def scopes_of(event: Event) -> list[Scope]:
    """All scopes that `event` is in."""
    types = "graph" if event.type.startswith("graph.") else UNSET
    names = (event.user_id, event.graph_id, event.graph_exec_id, types)
    choices = [(None,) if name is UNSET else (None, name) for name in names]
    return [Scope(*chosen) for chosen in product(*choices)]
