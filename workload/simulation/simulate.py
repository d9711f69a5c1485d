"""Runs of graphs as a stream of commands, all from one seed."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from execstream.workload.simulation.dirt import strewn
from execstream.workload.simulation.draws import Draws
from execstream.workload.simulation.graphs import Graph
from execstream.workload.simulation.mix import Mix
from execstream.workload.simulation.run import Run
from execstream.workload.simulation.wire import Sent
from execstream.workload.simulation.world import World

# Seconds until a run takes the place of one that ended, median.
_GAP = 0.05


class Simulation(Iterator[Sent]):
    """The records of `runs` top-level runs and their children, made as they are asked for."""

    def __init__(
        self, world: World, graphs: Sequence[Graph], runs: int, interleave: int, records: Draws
    ) -> None:
        self._world = world
        self._graphs = graphs
        self._wanted = runs
        self._begun = 0
        for _ in range(min(runs, interleave)):
            self._plan_next()
        clean = world.unfold()
        self._records = strewn(clean, records, world.mix) if world.mix.is_dirty else clean

    @property
    def runs(self) -> int:
        """The number of runs begun so far, children included."""
        return self._world.runs

    def __next__(self) -> Sent:
        return next(self._records)

    def _plan_next(self) -> None:
        if self._begun < self._wanted:
            graph = self._graphs[self._begun % len(self._graphs)]
            self._begun += 1
            run_begins = self._world.draws.microseconds(_GAP)
            self._world.after(run_begins, lambda: self._begin(graph))

    def _begin(self, graph: Graph) -> None:
        owner = self._world.draws.owner()
        Run(self._world, graph, owner, lambda _: self._plan_next()).create()


def simulate(
    graphs: Sequence[Graph],
    *,
    runs: int,
    seed: int,
    start: datetime,
    mix: Mix = Mix(),  # noqa: B008 - frozen
    interleave: int = 50,
    owners: int = 1000,
    latest: Callable[[], datetime] | None = None,
) -> Simulation:
    """Walk the graphs in turn, `interleave` of `runs` top-level runs at a time.

    Same arguments, same bytes. `start` (aware) is where simulated time begins; `at` never
    decreases, and is no later than `latest()` if that is given. Every command of a clean mix is
    accepted when they are applied in order.
    """
    if not graphs:
        raise ValueError("simulate was given no graphs; load some or use shapes.all_shapes()")
    if interleave < 1:
        raise ValueError(f"interleave is {interleave}, so no run could begin; give at least 1")
    world = World(Draws(seed, owners), start, mix, latest)
    # Dirt has its own chance, so that the clean records are the same with and without it.
    return Simulation(world, graphs, runs, interleave, Draws(f"{seed}/dirt", owners))
