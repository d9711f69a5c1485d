"""One run walking its graph, as an executor would move it.

`docs/simulation.md` has the rules: the inputs that a step waits for, how values travel, how loops
are bounded, how a run ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from execstream.workload.simulation.failures import step_error
from execstream.workload.simulation.figures import RunFigures, step_stats
from execstream.workload.simulation.graphs import Graph
from execstream.workload.simulation.mix import Fate
from execstream.workload.simulation.plan import NodePlan, Way
from execstream.workload.simulation.sending import Sending
from execstream.workload.simulation.wire import Fields, Json
from execstream.workload.simulation.world import World

LOOP_ROUNDS = 2
_OPEN = frozenset({"INCOMPLETE", "QUEUED", "REVIEW"})
_ALIVE = frozenset({"QUEUED", "RUNNING"})
# Seconds, medians.
_WAIT_FOR_EXECUTOR, _WAIT_IN_QUEUE, _PAUSE = 0.1, 0.01, 60.0
_RARE = 0.01  # share of runs that are shared, deleted; of steps that set a key
_SECOND_OUTPUT = 0.3  # share of steps that speak on one more pin: 1.4 outputs a step in all


@dataclass
class Step:
    """A step as its run sees it."""

    id: str
    at: "NodeState"
    inputs: Fields
    status: str = "INCOMPLETE"
    child_id: str | None = None


@dataclass
class NodeState:
    """A node within a run: its open steps, oldest first, and the values its static pins keep."""

    plan: NodePlan
    open: list[Step] = field(default_factory=list)
    kept: Fields = field(default_factory=dict)
    begun: int = 0
    ended: int = 0

    def is_complete(self, step: Step) -> bool:
        """Return whether the step has all inputs that it waits for."""
        plan, pins = self.plan, step.inputs.keys()
        if not plan.static_pins <= (pins | self.kept.keys()):
            return False
        if plan.entry_pins and plan.entry_pins <= pins:
            return True
        if not plan.entry_pins and self.begun == 0:
            return True  # only static pins: one step, when each has its value
        return bool(plan.loop_pins) and plan.loop_pins <= pins


class Run:
    """A run from its creation to its end; `on_end` is called with the status it ended in."""

    def __init__(
        self,
        world: World,
        graph: Graph,
        owner: str,
        on_end: Callable[[str], None],
        parent_id: str | None = None,
    ) -> None:
        world.runs += 1
        self._world = world
        self._draws = world.draws
        self._graph = graph
        self._plan = world.plan_of(graph)
        self._sending = Sending(world, world.new_id(), owner)
        self._on_end = on_end
        self._parent_id = parent_id
        self._fate = self._draws.fate(world.mix)
        self._fate_comes_at = self._draws.integer(1, len(self._plan.nodes))
        self._node_states = {node_id: NodeState(plan) for node_id, plan in self._plan.nodes.items()}
        self._steps: list[Step] = []
        self._children: list[Run] = []
        self._fired: dict[int, int] = {}
        self._begun = 0
        self._active = 0
        self._life = 0  # a resumed run is in its next life: the plans of the last one are void
        self._status = "INCOMPLETE"
        self._figures = RunFigures(self._draws)

    @property
    def id(self) -> str:
        return self._sending.run_id

    def create(self) -> None:
        """The run is made and queued, and started when an executor is free."""
        starting: list[Fields] = []
        given: Fields = {}
        for plan in self._plan.starts:
            inputs = self._starting_inputs(plan)
            node = plan.node
            starting.append({"node_id": node.id, "block_id": node.block_id, "inputs": inputs})
            if node.block_type == "INPUT":
                given[plan.pin_name] = inputs["value"]
        about: Fields = {
            "graph_id": self._graph.id,
            "graph_version": self._graph.version,
            "inputs": given,
        }
        if self._parent_id is not None:
            about["parent_graph_exec_id"] = self._parent_id
        if attributes := self._draws.attributes(self.id, self._world.mix):
            about["attributes"] = attributes
        step_ids = self._sending.create(about, starting)
        for step_id, made in zip(step_ids, starting, strict=True):
            place = self._node_states[made["node_id"]]
            place.begun += 1
            self._steps.append(Step(step_id, place, made["inputs"], "QUEUED"))
        self._move("QUEUED")
        self._later(self._draws.microseconds(_WAIT_FOR_EXECUTOR), self._start)

    def stop(self) -> None:
        """Terminate the run and its children, from outside; `on_end` is not called."""
        if self._status in ("COMPLETED", "FAILED"):
            return
        if self._status != "TERMINATED":
            self._terminate()
        self._life += 1

    def _starting_inputs(self, plan: NodePlan) -> Fields:
        if plan.node.block_type == "INPUT":
            return {"name": plan.pin_name, "value": self._draws.payload(self._world.mix)}
        return {"prompt": self._draws.text(60)}

    def _start(self) -> None:
        self._sending.start()
        self._status = "RUNNING"
        for step in self._steps:
            if step.status == "QUEUED":
                self._queue_up(step)
        if not self._active:
            self._come_to_an_end()

    def _queue_up(self, step: Step) -> None:
        self._active += 1
        self._later(self._draws.microseconds(_WAIT_IN_QUEUE), self._begin, step)

    def _begin(self, step: Step) -> None:
        self._move_step(step, "RUNNING")
        self._begun += 1
        node = step.at.plan.node
        if self._has_come(Fate.FAILED, Fate.TERMINATED, Fate.RESUMED):
            self._meet_fate()
        elif node.block_type == "AGENT":
            child = Run(
                self._world,
                self._graph.find_sub_graph(node),
                self._sending.owner,
                self._alive(self._child_ended, step),
                self._sending.run_id,
            )
            self._children.append(child)
            step.child_id = child.id
            child.create()
        else:
            self._later(self._draws.duration(node.block_type), self._finish, step)

    def _child_ended(self, step: Step, status: str) -> None:
        if status == "COMPLETED":
            self._finish(step)
        else:
            self._fail(step, f"the agent's run ended {status}")

    def _finish(self, step: Step) -> None:
        if self._has_come(Fate.REVIEW):
            self._fate = Fate.COMPLETED
            self._move_step(step, "REVIEW")
        elif self._draws.happens(self._world.mix.failures):
            self._fail(step, step_error(self._draws, step.at.plan.node.block_type))
            return
        else:
            self._complete(step)
        self._step_is_over()

    def _complete(self, step: Step) -> None:
        place = step.at
        for pin in self._speaking_pins(place):
            for _ in range(place.plan.node.emits if pin in place.plan.ways else 1):
                self._emit(step, pin, self._draws.payload(self._world.mix))
        place.ended += 1
        stats = step_stats(self._draws, place.plan.node.block_type)
        self._move_step(step, "COMPLETED", stats)
        self._sending.update(stats=self._figures.after(stats))
        if self._draws.happens(_RARE):
            key = f"{place.plan.node.block}/{self._draws.integer(1, 3)}"
            self._sending.set_kv(key, self._draws.payload(self._world.mix), step.id)

    def _fail(self, step: Step, error: str) -> None:
        self._emit(step, step.at.plan.error_pin, error)
        step.at.ended += 1
        stats = step_stats(self._draws, step.at.plan.node.block_type) | {"error": error}
        if step.child_id is not None:
            stats["child_graph_exec_id"] = step.child_id
        self._move_step(step, "FAILED", stats)
        self._sending.update(stats=self._figures.after(stats))
        self._step_is_over()

    def _speaking_pins(self, place: NodeState) -> list[str]:
        """The pins a step that went well speaks on: a tool call a round, then the rest."""
        plan = place.plan
        if place.ended < len(plan.tools):
            return [*plan.tools[place.ended], *plan.back_pins]
        pins = list(plan.plain_pins) or ["output"]
        if self._draws.happens(_SECOND_OUTPUT):
            pins.append("usage")
        return pins

    def _emit(self, step: Step, pin: str, value: Json) -> None:
        self._sending.output(step.id, pin, value)
        for way in step.at.plan.ways.get(pin, ()):
            self._travel(way, value)

    def _travel(self, way: Way, value: Json) -> None:
        if way.closes_a_loop:
            if self._fired.get(way.number, 0) >= LOOP_ROUNDS:
                return
            self._fired[way.number] = self._fired.get(way.number, 0) + 1
        place, pin = self._node_states[way.link.sink], way.link.sink_pin
        step = next((each for each in place.open if pin not in each.inputs), None)
        if step is None:
            step = Step(self._sending.opening_input(place.plan, pin, value), place, {})
            place.open.append(step)
            self._steps.append(step)
        else:
            self._sending.input(place.plan, pin, value)
        step.inputs[pin] = value
        if pin in place.plan.static_pins:
            place.kept[pin] = value
            waiting = list(place.open)
        else:
            waiting = [step]
        for each in waiting:
            if place.is_complete(each):
                self._queue(each)

    def _queue(self, step: Step) -> None:
        place = step.at
        place.open.remove(step)
        place.begun += 1
        if place.plan.node.block_type == "OUTPUT":
            step.inputs["name"] = place.plan.pin_name
            self._sending.input_to(step.id, place.plan, "name", place.plan.pin_name)
        self._move_step(step, "QUEUED", data=place.kept | step.inputs)
        self._queue_up(step)

    def _step_is_over(self) -> None:
        self._active -= 1
        if not self._active:
            self._come_to_an_end()

    def _come_to_an_end(self) -> None:
        if self._fate is Fate.REVIEW:
            self._fate = Fate.COMPLETED  # nothing was left to review
        if any(step.status == "REVIEW" for step in self._steps):
            self._move("REVIEW", self._figures.so_far())
            self._later(self._draws.microseconds(_PAUSE), self._resume, "REVIEW")
        elif self._fate is not Fate.COMPLETED:
            self._meet_fate()
        else:
            self._move("COMPLETED", self._figures.final())
            self._end()

    def _has_come(self, *fates: Fate) -> bool:
        return self._fate in fates and self._begun >= self._fate_comes_at

    def _meet_fate(self) -> None:
        fate, self._fate = self._fate, Fate.COMPLETED
        if fate is Fate.FAILED:
            for child in self._children:
                child.stop()
            self._move("FAILED", self._figures.final() | {"error": "insufficient balance"})
            self._end()
        elif fate is Fate.TERMINATED:
            self._terminate()
            self._end()
        else:
            self._terminate(to_resume=True)
            self._life += 1
            self._later(self._draws.microseconds(_PAUSE), self._resume, "TERMINATED")

    def _terminate(self, *, to_resume: bool = False) -> None:
        """End here; steps to be resumed are put away before the run's end can fail them."""
        for child in self._children:
            child.stop()
        if to_resume:
            self._put_away(_ALIVE)
        self._move("TERMINATED", self._figures.so_far())
        if not to_resume:
            self._put_away(_OPEN)

    def _put_away(self, statuses: frozenset[str]) -> None:
        left = [step for step in self._steps if step.status in statuses]
        for step in left:
            step.status = "TERMINATED"
        self._sending.update_steps([step.id for step in left], "TERMINATED")

    def _resume(self, held: str) -> None:
        """Take up the steps in the status `held`, half of them by way of the queue."""
        self._active = 0
        self._move("QUEUED")
        self._sending.start()
        self._status = "RUNNING"
        for step in self._steps:
            if step.status == held:
                if self._draws.happens(0.5):
                    self._move_step(step, "QUEUED", data=step.at.kept | step.inputs)
                self._queue_up(step)
        if not self._active:
            self._come_to_an_end()

    def _end(self) -> None:
        self._life += 1
        if self._draws.happens(_RARE):
            self._world.after(self._draws.microseconds(_PAUSE), self._share_for_a_while)
        elif self._draws.happens(_RARE):
            self._world.after(self._draws.microseconds(_PAUSE), self._sending.delete)
        self._on_end(self._status)

    def _share_for_a_while(self) -> None:
        self._sending.share()
        if self._draws.happens(0.5):
            self._world.after(self._draws.microseconds(_PAUSE), self._sending.unshare)

    def _move(self, status: str, stats: Fields | None = None) -> None:
        self._sending.update(status, stats)
        self._status = status

    def _move_step(
        self, step: Step, status: str, stats: Fields | None = None, data: Fields | None = None
    ) -> None:
        self._sending.update_step(step.id, status, stats, data)
        step.status = status

    def _later(self, microseconds: int, happening: Callable[..., None], *of: object) -> None:
        self._world.after(microseconds, self._alive(happening, *of))

    def _alive(self, happening: Callable[..., None], *of: object) -> Callable[..., None]:
        """The happening, unless this life of the run is over by then."""
        life = self._life

        def happen(*more: object) -> None:
            if self._life == life:
                happening(*of, *more)

        return happen
