"""Scopes: the events that a stream delivers."""

from itertools import product

from msgspec import UNSET

from execstream.storage.log.reader import Scope
from execstream.streams.events import Event


def scopes_of(event: Event) -> list[Scope]:
    """All scopes that `event` is in."""
    types = "graph" if event.type.startswith("graph.") else UNSET
    names = (event.user_id, event.graph_id, event.graph_exec_id, types)
    choices = [(None,) if name is UNSET else (None, name) for name in names]
    return [Scope(*chosen) for chosen in product(*choices)]
