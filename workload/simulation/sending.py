"""The commands of one run, by name, with the ids they give."""

import hashlib

from execstream.workload.simulation.draws import derived_id
from execstream.workload.simulation.plan import NodePlan
from execstream.workload.simulation.wire import Fields, Json
from execstream.workload.simulation.world import World

MAX_BATCH = 1000  # steps of one `node.update_many`
# The share of steps with an id chosen by the producer; the others get a derived one.
_NAMED_STEPS = 0.25


class Sending:
    """Sends the commands of the run `run_id` of `owner`."""

    def __init__(self, world: World, run_id: str, owner: str) -> None:
        self._world = world
        self.run_id = run_id
        self.owner = owner

    def create(self, fields: Fields, starting: list[Fields]) -> list[str]:
        """`graph.create`; returns the ids of the starting steps."""
        for node in starting:
            if self._world.draws.happens(_NAMED_STEPS):
                node["node_exec_id"] = self._world.new_id()
        command_id = self._send("graph.create", fields | {"starting_nodes": starting})
        return [
            node.get("node_exec_id") or derived_id(command_id, f"starting/{index}")
            for index, node in enumerate(starting)
        ]

    def start(self) -> None:
        """`graph.start`."""
        self._send("graph.start", {})

    def update(self, status: str | None = None, stats: Fields | None = None) -> None:
        """`graph.update`."""
        self._send("graph.update", _given(status=status, stats=stats))

    def share(self) -> None:
        """`graph.share`, with the hash of a token."""
        token = hashlib.sha256(self._world.new_id().encode()).hexdigest()
        self._send("graph.share", {"is_shared": True, "share_token_hash": token})

    def unshare(self) -> None:
        """`graph.share` taken back."""
        self._send("graph.share", {"is_shared": False})

    def delete(self) -> None:
        """`graph.delete`, the soft one."""
        self._send("graph.delete", {})

    def input_to(self, step_id: str, plan: NodePlan, pin: str, value: Json) -> None:
        """`node.input` for a step by its id."""
        self._send("node.input", _input(plan, pin, value) | {"node_exec_id": step_id})

    def input(self, plan: NodePlan, pin: str, value: Json) -> None:
        """`node.input` for the oldest step that is open for it."""
        self._send("node.input", _input(plan, pin, value))

    def opening_input(self, plan: NodePlan, pin: str, value: Json) -> str:
        """`node.input` that makes a step; returns the step's id."""
        fields = _input(plan, pin, value)
        if self._world.draws.happens(_NAMED_STEPS):
            step_id = self._world.new_id()
            self._send("node.input", fields | {"new_node_exec_id": step_id})
            return step_id
        return derived_id(self._send("node.input", fields), "node")

    def output(self, step_id: str, pin: str, value: Json) -> None:
        """`node.output`."""
        fields = {"node_exec_id": step_id, "output_name": pin, "output_data": value}
        self._send("node.output", fields)

    def update_step(
        self, step_id: str, status: str, stats: Fields | None = None, data: Fields | None = None
    ) -> None:
        """`node.update`."""
        given = _given(execution_data=data, stats=stats)
        self._send("node.update", {"node_exec_id": step_id, "status": status} | given)

    def update_steps(self, step_ids: list[str], status: str) -> None:
        """`node.update_many`, as many times as it takes."""
        for first in range(0, len(step_ids), MAX_BATCH):
            some = step_ids[first : first + MAX_BATCH]
            self._send("node.update_many", {"node_exec_ids": some, "status": status})

    def set_kv(self, key: str, data: Json, step_id: str) -> None:
        """`kv.set`, which goes by the owner."""
        fields = {"key": key, "data": data, "node_exec_id": step_id}
        self._world.send(self.owner, "kv.set", self.owner, fields)

    def _send(self, type_: str, fields: Fields) -> str:
        fields["graph_exec_id"] = self.run_id
        return self._world.send(self.run_id, type_, self.owner, fields)


def _input(plan: NodePlan, pin: str, value: Json) -> Fields:
    return {
        "node_id": plan.node.id,
        "block_id": plan.node.block_id,
        "input_name": pin,
        "input_data": value,
    }


def _given(**fields: Json) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}
