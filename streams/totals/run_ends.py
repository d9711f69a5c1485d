"""Ends of runs that the webhook gets: which of them, by status, graph and owner.

An end is an event that moves a run to a status in ENDED. Imported events are left out. A run that
is resumed and ends again has two ends, which differ by `seq`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from execstream.streams.statuses import ENDED
from execstream.streams.totals.aggregation import Fact


class RunEnd(NamedTuple):
    """A run that ended; the columns of `run_message`, in their order. `ended_at`: of its event."""

    graph_exec_id: str
    seq: int
    status: str
    graph_id: str
    user_id: str
    dry_run: bool
    ended_at: datetime


class EndFilter(NamedTuple):
    """The ends to send: no statuses: none; no graphs or users: those of all."""

    statuses: Collection[str] = ()
    graphs: Collection[str] = ()
    users: Collection[str] = ()

    def end_of(self, fact: Fact) -> RunEnd | None:
        """The end that `fact` is, if it is one to send."""
        if fact.status not in self.statuses or fact.type != "graph.updated" or fact.imported:
            return None
        if self.graphs and fact.graph_id not in self.graphs:
            return None
        if self.users and fact.user_id not in self.users:
            return None
        about = (fact.graph_exec_id, fact.seq, str(fact.status), fact.graph_id, fact.user_id)
        return RunEnd(*about, fact.dry_run, fact.at)


NO_ENDS = EndFilter()


def end_filter(statuses: str | None, graphs: str | None, users: str | None) -> EndFilter:
    """Read a filter from lists with commas; None is an empty one. Other statuses than those in
    ENDED are never sent.
    """
    lists = (frozenset((text or "").split(",")) - {""} for text in (statuses, graphs, users))
    wanted, of_graphs, of_users = lists
    return EndFilter(wanted & ENDED, of_graphs, of_users)
