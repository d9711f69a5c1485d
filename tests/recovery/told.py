"""A run to which everything happened that can."""

from tests.orders import Order, Orders, replaced


class Told:
    """A run to which everything happened that can, by name of the command."""

    def __init__(self) -> None:
        self.orders = orders = Orders(user_id="ada-told")
        self.commands: dict[str, Order] = {
            "create": orders.create(orders.node("a", block_id="fetch"), graph_id="told"),
            "start": orders.start(reply_to="somebody"),
            "run a": orders.move_step("a", "RUNNING"),
            "emit 1": orders.emit("a", "page", "one"),
            "emit 2": orders.emit("a", "page", "two"),
            "open b": orders.give("b", "text", "one"),
            "run b": orders.move_step("b", "RUNNING"),
            "end a": orders.move_step("a", "FAILED", stats={"error": "no\nanswer"}),
            "run a again": orders.move_step("a", "RUNNING"),
            "stranger": orders.order("graph.start", user_id="bob"),
            "dead": orders.order("graph.update", status="DONE", reply_to="mourner"),
            "end": orders.move("COMPLETED", stats={"cost": 3}),
        }
        self.commands["end again"] = replaced(self.commands["end"], reply_to="who")

    def id_of(self, name: str) -> str:
        return self.orders.named(f"command/{list(self.commands).index(name) + 1}")
