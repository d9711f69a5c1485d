"""Orders as a producer would write them: well-formed commands, and records of any kind."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

DAWN = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
OWNER = "ada"
Json = Any


class Order(NamedTuple):
    """A record to be put on the commands topic; without a partition it goes where its key does."""

    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int | None = None  # milliseconds; None: the producer's clock


@dataclass
class Orders:
    """Commands about one run, a second apart; `run_id` names everything else that is made.

    The same calls on an equal run id give the same bytes.
    """

    run_id: str = field(default_factory=lambda: str(uuid4()))
    user_id: str = OWNER
    sent: int = 0

    def order(self, type_: str, **fields: Json) -> Order:
        """A command; `fields` replace or add to its fields."""
        command = self.command(type_, **fields)
        key = command["user_id" if type_ == "kv.set" else "graph_exec_id"]
        return Order(str(key).encode(), encoded(command))

    def command(self, type_: str, **fields: Json) -> dict[str, Json]:
        self.sent += 1
        command = {
            "type": type_,
            "id": self.named(f"command/{self.sent}"),
            "at": (DAWN + timedelta(seconds=self.sent)).isoformat(),
            "user_id": self.user_id,
            "graph_exec_id": self.run_id,
        }
        if type_ == "kv.set":
            del command["graph_exec_id"]
        return command | fields

    def named(self, name: str) -> str:
        """The UUID of something of this run."""
        return str(uuid5(UUID(self.run_id), name))

    # ---- the types, with their fields --------------------------------------------------------

    def create(self, *nodes: Json, **fields: Json) -> Order:
        about = {"graph_id": "graph", "graph_version": 1, "starting_nodes": list(nodes)}
        return self.order("graph.create", **(about | fields))

    def start(self, **fields: Json) -> Order:
        return self.order("graph.start", **fields)

    def move(self, status: str, **fields: Json) -> Order:
        return self.order("graph.update", status=status, **fields)

    def node(self, name: str, **fields: Json) -> dict[str, Json]:
        """A starting node; its step is `named(name)`."""
        about = {"node_id": name, "block_id": "block", "inputs": {}}
        return about | {"node_exec_id": self.named(name)} | fields

    def give(self, name: str, pin: str = "in", data: Json = 1, **fields: Json) -> Order:
        """`node.input`; a step that it makes is `named(name)`."""
        about = {"node_id": name, "block_id": "block", "input_name": pin, "input_data": data}
        return self.order("node.input", **(about | {"new_node_exec_id": self.named(name)} | fields))

    def emit(self, name: str, pin: str = "out", data: Json = 1, **fields: Json) -> Order:
        about = {"node_exec_id": self.named(name), "output_name": pin, "output_data": data}
        return self.order("node.output", **(about | fields))

    def move_step(self, name: str, status: str, **fields: Json) -> Order:
        data = {"execution_data": {"in": 1}} if status == "QUEUED" else {}
        about = {"node_exec_id": self.named(name), "status": status} | data
        return self.order("node.update", **(about | fields))

    def move_steps(self, names: Sequence[str], status: str, **fields: Json) -> Order:
        ids = [self.named(name) for name in names]
        return self.order("node.update_many", node_exec_ids=ids, status=status, **fields)

    def keep(self, key: str = "key", data: Json = 1, **fields: Json) -> Order:
        about = {"key": key, "data": data, "node_exec_id": self.named("kv")}
        return self.order("kv.set", **(about | fields))

    def raw(self, value: bytes | None) -> Order:
        """Anything at all, under the run's key."""
        return Order(self.run_id.encode(), value)


def encoded(command: dict[str, Json]) -> bytes:
    return json.dumps(command, separators=(",", ":")).encode()


def replaced(order: Order, **fields: Json) -> Order:
    """`order` with other fields in its command."""
    return order._replace(value=encoded(json.loads(order.value or b"") | fields))


# A way to each status, for runs (from creation) and steps (from INCOMPLETE).
WAY_TO: dict[str, list[str]] = {
    "INCOMPLETE": [],
    "QUEUED": ["QUEUED"],
    "RUNNING": ["RUNNING"],
    "COMPLETED": ["RUNNING", "COMPLETED"],
    "TERMINATED": ["TERMINATED"],
    "FAILED": ["FAILED"],
    "REVIEW": ["RUNNING", "REVIEW"],
}
