"""A day of ordinary work over 200 blocks, and six incidents in it, drawn by a seed."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import UUID

from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS
from tests.orders import Json, Order, Orders

BLOCKS = 200
ORDINARY = 0.03  # of steps fail
GRAPHS = 12
USERS = 40
STEPS = 10  # of a run
DAY = 240  # runs of the day before the last hour
HOUR = 120  # of the last hour

_ERRORS = (
    "row 17 has no column 'total'",
    "the answer is not JSON",
    "connection reset by peer",
    "document 4711 was not found",
)
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "iris", "juniper")


@dataclass
class Incidents:
    """Names, counts and times of one seed. `now`: when the incidents begin."""

    seed: int
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.draws = random.Random(self.seed)
        words = list(_WORDS)
        self.draws.shuffle(words)
        self._drawn = iter(words)
        self.blocks = [f"block-{number:03}" for number in range(BLOCKS)]
        self.outage_block, self.stuck_block = self.draws.sample(self.blocks, 2)
        self.bad_graph = f"graph-{self._name()}"
        self.bad_version = self.draws.randint(2, 30)
        self.bad_user = f"user-{self._name()}"
        self.spender = f"user-{self._name()}"
        self.stranger = f"user-{self._name()}"

    def _name(self) -> str:
        return f"{next(self._drawn)}-{self.draws.randrange(100)}"

    # ---- ordinary work -------------------------------------------------------------------------

    def ordinary(self) -> Iterator[Order]:
        """The day, and the last hour of it."""
        hour, day = timedelta(hours=1), timedelta(hours=24)
        for _ in range(DAY):
            yield from self._run(self.now - hour - self.draws.random() * day)
        for _ in range(HOUR):
            yield from self._run(self.now - self.draws.uniform(0.01, 0.95) * hour)

    def _run(self, at: datetime, **about: Json) -> Iterator[Order]:
        errors = {
            number: self.draws.choice(_ERRORS)
            for number in range(STEPS)
            if self.draws.random() < ORDINARY
        }
        blocks = self.draws.choices(self.blocks, k=STEPS)
        yield from self.run(at, blocks, errors, **about)

    def run(
        self,
        at: datetime,
        blocks: list[str],
        errors: dict[int, str],
        *,
        user: str = "",
        graph: str = "",
        version: int = 1,
        cost: int = 0,
        foreign: bool = False,
    ) -> Iterator[Order]:
        """A run with a step of each block, those of `errors` failing; it fails with any of them."""
        run = Orders(
            run_id=str(UUID(int=self.draws.getrandbits(128), version=4)),
            user_id=user or f"user-{self.draws.randrange(USERS)}",
        )
        begun, ended = {"at": at.isoformat()}, {"at": (at + timedelta(seconds=2)).isoformat()}
        names = [f"n{number}" for number in range(len(blocks))]
        nodes = [run.node(name, block_id=block) for name, block in zip(names, blocks, strict=True)]
        graph = graph or f"graph-{self.draws.randrange(GRAPHS)}"
        orders = [run.create(*nodes, graph_id=graph, graph_version=version, **begun)]
        orders += [run.start(**begun), run.move_steps(names, "RUNNING", **begun)]
        each = cost or self.draws.randint(1, 5)
        for number, name in enumerate(names):
            error = errors.get(number)
            stats = {"cost": each} | ({"error": error} if error else {})
            status = "FAILED" if error else "COMPLETED"
            orders.append(run.move_step(name, status, stats=stats, **ended))
        total = {"cost": each * len(blocks), "node_count": len(blocks)}
        orders.append(run.move("FAILED" if errors else "COMPLETED", stats=total, **ended))
        for order in orders:
            yield _astray(order) if foreign else order

    # ---- incidents -----------------------------------------------------------------------------

    @cached_property
    def outage(self) -> list[Order]:
        """The provider of a block fails; every graph and user has it."""
        return self._each(
            self.draws.randint(20, 40),
            lambda: self._some({0: f"{self._status()} Service Unavailable"}, self.outage_block),
        )

    @cached_property
    def bad_graph_version(self) -> list[Order]:
        """A new version of a graph hands on what its blocks cannot read."""
        errors = {0: f"KeyError: 'customer_{self.draws.randrange(100)}'"}
        about: dict[str, Json] = {"graph": self.bad_graph, "version": self.bad_version}
        good: dict[str, Json] = {"graph": self.bad_graph, "version": self.bad_version - 1}
        return [
            *self._each(self.draws.randint(10, 20), lambda: self._some(errors, **about)),
            *self._each(5, lambda: self._some({}, **good)),
        ]

    @cached_property
    def bad_credentials(self) -> list[Order]:
        """A user's key has expired, whatever the block."""
        errors = {0: "401 Unauthorized: invalid api key"}
        count = self.draws.randint(10, 20)
        return self._each(count, lambda: self._some(errors, user=self.bad_user))

    @cached_property
    def cost_explosion(self) -> list[Order]:
        """A user's runs cost a thousand times as much."""
        count, cost = self.draws.randint(5, 10), self.draws.randint(3_000, 9_000)
        return self._each(count, lambda: self._some({}, user=self.spender, cost=cost))

    @cached_property
    def stuck_worker(self) -> list[Order]:
        """A worker has taken steps of a block, and nothing is heard of it for minutes."""
        at = self.now - timedelta(minutes=self.draws.randint(6, 40))
        orders: list[Order] = []
        for _ in range(self.draws.randint(5, 12)):
            # create, start, and one step that runs
            orders += list(self.run(at, [self.stuck_block], {}))[:3]
        return orders

    @cached_property
    def foreign_partitioner(self) -> list[Order]:
        """A producer partitions otherwise than keys do, and another one ends its runs."""
        orders: list[Order] = []
        for _ in range(self.draws.randint(15, 30)):
            *begun, end = self._some({}, user=self.stranger, foreign=True)
            orders += [*begun, end._replace(partition=None)]
        return orders

    def all(self) -> list[Order]:
        """Commands of all incidents, in the order of each run."""
        return [
            *(*self.outage, *self.bad_graph_version, *self.bad_credentials),
            *(*self.cost_explosion, *self.stuck_worker, *self.foreign_partitioner),
        ]

    def _some(self, errors: dict[int, str], block: str = "", **about: Json) -> Iterator[Order]:
        blocks = [block or self.draws.choice(self.blocks), *self.draws.choices(self.blocks, k=2)]
        return self.run(
            self.now - timedelta(seconds=self.draws.randint(3, 9)), blocks, errors, **about
        )

    def _each(self, count: int, make: Callable[[], Iterator[Order]]) -> list[Order]:
        return [order for _ in range(count) for order in make()]

    def _status(self) -> int:
        return self.draws.choice((500, 502, 503))


def _astray(order: Order) -> Order:
    """`order` on the partition after the one that its key chooses."""
    own = partition_of(order.key or b"", COMMANDS.partitions)
    return order._replace(partition=(own + 1) % COMMANDS.partitions)
