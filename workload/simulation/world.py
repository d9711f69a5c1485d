"""Simulated time and its events: callbacks by time, records in the order they are sent."""

import heapq
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count

from execstream.workload.simulation.draws import Draws
from execstream.workload.simulation.graphs import Graph
from execstream.workload.simulation.mix import Mix
from execstream.workload.simulation.plan import GraphPlan, plan_of
from execstream.workload.simulation.wire import Clock, Fields, Sent, encode

# Between two commands of one happening, in microseconds.
_TICK = 40


class World:
    """State that all runs of a simulation share. `runs`: the number begun, children included."""

    def __init__(
        self,
        draws: Draws,
        start: datetime,
        mix: Mix,
        latest: Callable[[], datetime] | None = None,
    ) -> None:
        self.draws = draws
        self.mix = mix
        self.runs = 0
        self._clock = Clock(start, latest)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._outbox: list[Sent] = []
        self._plans: dict[tuple[str, int], GraphPlan] = {}

    def after(self, microseconds: int, happening: Callable[[], None]) -> None:
        """Schedule a callback; at one time, in the order of asking."""
        when = self._clock.now + microseconds
        heapq.heappush(self._agenda, (when, next(self._order), happening))

    def unfold(self) -> Iterator[Sent]:
        """Everything that is sent until nothing is left to happen."""
        while self._agenda:
            when, _, happening = heapq.heappop(self._agenda)
            self._clock.now = max(self._clock.now, when)
            happening()
            yield from self._outbox
            self._outbox.clear()

    def new_id(self) -> str:
        """A UUIDv7 of the present."""
        return self.draws.uuid(self._clock.now)

    def send(self, key: str, type_: str, owner: str, fields: Fields) -> str:
        """Send a command now; returns its id."""
        clock = self._clock
        command_id = self.draws.uuid(clock.now)
        command = {"type": type_, "id": command_id, "at": clock.at(), "user_id": owner}
        command.update(fields)
        self._outbox.append(Sent(key.encode(), encode(command)))
        clock.now += self.draws.integer(1, _TICK)
        return command_id

    def plan_of(self, graph: Graph) -> GraphPlan:
        """The plan of a graph, worked out once."""
        name = (graph.id, graph.version)
        if name not in self._plans:
            self._plans[name] = plan_of(graph)
        return self._plans[name]
