"""Loading views from the journal, up to events whose past they have not seen."""

from collections.abc import Mapping

import asyncpg

from execstream.storage.log.run_history import Head, earlier_events, load_heads
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.unreadable_rows import UnreadableRun, note, reading
from execstream.streams.events import Event


async def recall(
    connection: asyncpg.Connection, views: RunViews, missing: Mapping[str, Event]
) -> set[str]:
    """Bring the views of the runs of `missing` to the state just before these events; where the
    journal has no past any more, to the rest of the run that is left.

    Returns the runs that cannot be read, which are noted.
    """
    unreadable: set[str] = set()

    def leave_out(error: UnreadableRun) -> None:
        unreadable.add(error.graph_exec_id)
        note(error)

    heads = await load_heads(connection, missing, leave_out)
    before = {run_id: event.seq or 0 for run_id, event in missing.items()}
    async for event in earlier_events(connection, before, heads, leave_out):
        try:
            with reading(event.graph_exec_id):
                _replay(views, event, heads)
        except UnreadableRun as error:
            leave_out(error)
    for run_id, event in missing.items():
        if run_id not in unreadable and views.lacks(event):
            views.resume(event, heads.get(run_id))
    return unreadable


def _replay(views: RunViews, event: Event, heads: Mapping[str, Head]) -> None:
    if event.seq != 1 and views.lacks(event):
        views.resume(event, heads[str(event.graph_exec_id)])
    views.replay(event)
