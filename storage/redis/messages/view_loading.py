"""Bringing views up to events whose past they have not seen, from the journal."""

from collections.abc import Mapping

import asyncpg

from execstream.storage.log.run_history import earlier_events, load_heads
from execstream.storage.redis.messages.run_views import RunViews
from execstream.streams.events import Event


async def recall(
    connection: asyncpg.Connection, views: RunViews, missing: Mapping[str, Event]
) -> None:
    """Let the views of the runs of `missing` stand just before these events; where the journal
    has no past any more, at what is left of the run."""
    heads = await load_heads(connection, missing)
    before = {run_id: event.seq or 0 for run_id, event in missing.items()}
    async for event in earlier_events(connection, before, heads):
        if event.seq != 1 and views.lacks(event):
            views.resume(event, heads[str(event.graph_exec_id)])
        views.replay(event)
    for run_id, event in missing.items():
        if views.lacks(event):
            views.resume(event, heads.get(run_id))
