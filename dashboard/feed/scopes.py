"""Scopes: the events that a stream delivers. Imported ones are no news: they are in the streams of
their run only.
"""

from itertools import product

from msgspec import UNSET

from execstream.storage.log.reader import Scope
from execstream.streams.events import Event


def scopes_of(event: Event) -> list[Scope]:
    """All scopes that `event` is in."""
    types = "graph" if event.type.startswith("graph.") else UNSET
    names = (event.user_id, event.graph_id, event.graph_exec_id, types)
    choices = [(None,) if name is UNSET else (None, name) for name in names]
    scopes = [Scope(*chosen) for chosen in product(*choices)]
    return [scope for scope in scopes if shows(scope, event)]


def shows(scope: Scope, event: Event) -> bool:
    """Return whether streams of `scope` deliver `event`, which is in it."""
    return not event.imported or scope.graph_exec_id is not None
