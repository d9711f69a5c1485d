"""Point-in-time reads: at every moment the state of the reference at that entry."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest

from execstream import connect, reads
from execstream.devstack import Addresses
from execstream.models import ExecutionStatus, GraphExecutionWithNodes
from execstream.reads import NotYetHappened, PastIsGone, find_past, list_steps_as_of
from execstream.storage.connections import Session
from execstream.storage.models.stats import NodeExecutionStats, stats_from_db
from execstream.storage.schema.migrate import migrate
from execstream.workload.reference import Reference
from execstream.workload.simulation import Mix, load_graphs, simulate
from tests.exploring import IS_LONG
from tests.names import lent_names
from tests.orders import Order, Orders
from tests.storage.expected import Expected, Row, exact
from tests.storage.factories import DAWN, Tables
from tests.storage.histories import MAX_COMMAND_BYTES, History
from tests.worker import HOME

GRAPHS = load_graphs(HOME / "examples" / "graphs")
MIX = Mix(failures=0.2, terminated=0.15, review=0.15, resumed=0.2, illegal=0.02)
PAIRS, RUNS = (10_000, 300) if IS_LONG else (1_500, 60)


@dataclass(frozen=True)
class Instant:
    """A run and its steps right after one entry."""

    at: datetime
    run: Row
    steps: dict[str, Row]

    def told(self, kinds: dict[str, str]) -> Row:
        """The fields of `GraphExecutionWithNodes`."""
        place = {(self.run["id"], step_id): step for step_id, step in self.steps.items()}
        alone = SimpleNamespace(kv={}, runs={self.run["id"]: self.run}, steps=place)
        return Expected(cast(Reference, alone), kinds).whole(self.run)


class Remembering(Reference):
    """Keeps every run as it was after each of its entries."""

    def __init__(self) -> None:
        super().__init__(MAX_COMMAND_BYTES)
        self.instants: defaultdict[str, list[Instant]] = defaultdict(list)

    def _enter(self, applying: Any, kind: str, **fields: Any) -> None:
        super()._enter(applying, kind, **fields)
        run = self.runs[applying.command["graph_exec_id"]]
        steps = {
            step_id: step | {"inputs": dict(step["inputs"]), "outputs": list(step["outputs"])}
            for step_id, step in self._steps[run["id"]].items()
        }
        self.instants[run["id"]].append(Instant(applying.at, dict(run), steps))


@dataclass
class Lived:
    """Tables after a random history, and every moment of it."""

    db: asyncpg.Pool
    kinds: dict[str, str]
    visible: dict[str, list[Instant]]
    hidden: list[Row]

    @property
    def times(self) -> list[datetime]:
        return sorted(one.at for instants in self.visible.values() for one in instants)


@pytest.fixture(scope="module")
async def lived(stack: Addresses) -> AsyncIterator[Lived]:
    """Many runs, with clocks that disagree, among them shared and deleted ones."""
    async with lent_names(stack) as names:
        await migrate(stack.postgres_dsn, names.schema)
        session = Session(stack.postgres_dsn, names.schema)
        history = History(session)
        history.reference = remembering = Remembering()
        await history.define(GRAPHS)
        plan: Row = {"start": DAWN, "mix": MIX, "interleave": 20, "owners": 4}
        records = list(simulate(GRAPHS[:8], runs=RUNS, seed=1, **plan))
        for first in range(0, len(records) * 4 // 5, 500):
            await history.take(records[first : first + 500])
        await history.take((one.key, one.value) for one in _last_words(remembering))
        await session.close()
        db = await connect(stack.postgres_dsn, names.schema)
        kinds = dict(await db.fetch("select id, block_type from block"))
        runs = remembering.runs
        visible = {i: one for i, one in remembering.instants.items() if not runs[i]["is_deleted"]}
        hidden = [run for run in runs.values() if run["is_deleted"]]
        yield Lived(db, kinds, visible, hidden)
        await db.close()


def _last_words(reference: Reference) -> list[Order]:
    """Sharing twice, deleting and erasing; and steps of a run with a clock that is behind."""
    first, second, third, *_ = sorted(reference.runs.values(), key=lambda run: run["id"])
    shared, deleted, erased = (Orders(run["id"], run["user_id"]) for run in (first, second, third))
    late = Orders(user_id=first["user_id"], sent=100)
    words = [
        shared.order("graph.share", is_shared=True, share_token_hash="a" * 64),
        shared.order("graph.share", is_shared=False),
        shared.order("graph.share", is_shared=True, share_token_hash="b" * 64),
        deleted.order("graph.delete"),
        erased.order("graph.delete", hard=True),
        late.create(late.node("a")),
        late.start(at=(DAWN + timedelta(seconds=99)).isoformat()),
        late.move_step("a", "RUNNING"),
        late.emit("a", at=(DAWN + timedelta(seconds=101)).isoformat()),
        # Everything that can be replaced is replaced twice.
        late.order("graph.update", stats={"cost": 1}),
        late.move_step("a", "REVIEW", stats={"walltime": 1}),
        late.move_step("a", "QUEUED", execution_data={"in": 2}, stats={"walltime": 2}),
        late.move_step("a", "RUNNING"),
        late.move_step("a", "REVIEW"),
        late.move_step("a", "QUEUED", execution_data={"in": 3}, stats={"walltime": 3}),
        late.move("COMPLETED", stats={"cost": 3}),
    ]
    return [one for one in words if one.value]


def comparable(run: GraphExecutionWithNodes | None) -> Any:
    """The run in the form of the reference: without the stats of steps."""
    assert run is not None
    told = exact(run)
    for step in told["node_executions"]:
        del step["stats"]
    return told


@pytest.mark.slow
async def test_a_run_as_of_any_entry(lived: Lived) -> None:
    """Random pairs of a run and an entry, 10,000 in the long profile: all fields of a run."""
    chance = random.Random(7)
    pairs = [(i, seq) for i, one in lived.visible.items() for seq in range(1, len(one) + 1)]
    for run_id, seq in chance.sample(pairs, PAIRS):
        then = lived.visible[run_id][seq - 1]
        owner = then.run["user_id"]
        found = await reads.get_graph_execution_as_of(lived.db, owner, run_id, seq)
        assert comparable(found) == exact(then.told(lived.kinds)), (run_id, seq)
        assert found is not None
        for step in found.node_executions:
            stored = then.steps[step.node_exec_id]["stats"]
            assert exact(step.stats) == exact(stats_from_db(NodeExecutionStats, stored))


async def test_a_run_as_of_any_time(lived: Lived) -> None:
    """Up to the last entry that happened by then, also where clocks went back; else no run."""
    chance = random.Random(8)
    for run_id in chance.sample(sorted(lived.visible), 40):
        instants = lived.visible[run_id]
        for time in {chance.choice(instants).at + timedelta(microseconds=n) for n in (-1, 0, 1)}:
            then = as_of(instants, time)
            owner = instants[0].run["user_id"]
            found = await reads.get_graph_execution_as_of(lived.db, owner, run_id, time)
            assert (found and comparable(found)) == (then and exact(then.told(lived.kinds)))


def as_of(instants: list[Instant], time: datetime) -> Instant | None:
    if time < instants[0].at:
        return None
    return [one for one in instants if one.at <= time][-1]


async def test_steps_as_of_any_entry(lived: Lived) -> None:
    """Page by page in the order of creation, filtered by their state then."""
    chance = random.Random(9)
    for run_id in chance.sample(sorted(lived.visible), 40):
        seq = chance.randint(1, len(lived.visible[run_id]))
        then = lived.visible[run_id][seq - 1]
        node_id = chance.choice([*(one["node_id"] for one in then.steps.values()), "none"])
        statuses = [ExecutionStatus(one) for one in chance.sample(list(ExecutionStatus), 3)]
        for node, among in ((None, None), (node_id, None), (None, statuses), (node_id, statuses)):
            wanted = [
                exact(Instant(then.at, then.run, {step_id: step}).told(lived.kinds))[
                    "node_executions"
                ][0]
                for step_id, step in then.steps.items()
                if node in (None, step["node_id"]) and (not among or step["status"] in among)
            ]
            assert await paged(lived.db, run_id, seq, node, among) == wanted


async def paged(
    db: asyncpg.Pool,
    run_id: str,
    seq: int,
    node_id: str | None,
    statuses: list[ExecutionStatus] | None,
) -> list[Row]:
    past = await find_past(db, run_id, seq)
    assert past is not None
    found, after = [], 0
    while True:
        steps, following = await list_steps_as_of(db, past, node_id, statuses, after, 3)
        found += [exact(step.model_dump(exclude={"stats"})) for step in steps]
        if following is None:
            return found
        after = following


async def test_a_page_without_values(lived: Lived) -> None:
    """Everything but inputs and outputs."""
    run_id = sorted(lived.visible)[0]
    past = await find_past(lived.db, run_id, len(lived.visible[run_id]))
    assert past is not None
    whole, _ = await list_steps_as_of(lived.db, past)
    bare, _ = await list_steps_as_of(lived.db, past, with_values=False)
    assert any(step.input_data for step in whole)
    nothing: Row = {"input_data": {}, "output_data": {}}
    assert bare == [step.model_copy(update=nothing) for step in whole]


async def test_what_was_there_at_a_time(lived: Lived) -> None:
    """Runs of that time in the status of then, page by page, for each kind of filter."""
    chance = random.Random(10)
    for time in chance.sample(lived.times, 25):
        there = [one for i in lived.visible.values() if (one := as_of(i, time))]
        some = chance.choice(lived.times)
        filters: list[Row] = [
            {},
            {"statuses": chance.sample(list(ExecutionStatus), 2)},
            {"user_id": chance.choice(there).run["user_id"], "statuses": [ExecutionStatus.RUNNING]},
            {"graph_id": chance.choice(there).run["graph_id"], "graph_version": 1},
            {"created_time_gte": some},
            {"created_time_lte": some},
        ]
        alone = SimpleNamespace(kv={}, runs={one.run["id"]: one.run for one in there}, steps={})
        expected = Expected(cast(Reference, alone), lived.kinds)
        for asked in filters:
            wanted = expected.run_ids(asked)
            found = await listed(lived.db, time, asked)
            assert [run["id"] for run in found] == wanted, asked
            heads = {run["id"]: expected.meta(run) for run in expected.runs}
            assert found == [exact(heads[run_id]) for run_id in wanted]


async def listed(db: asyncpg.Pool, time: datetime, filters: Row) -> list[Row]:
    found: list[Row] = []
    cursor = None
    while True:
        page = await reads.list_graph_executions_as_of(db, time, **filters, cursor=cursor, limit=7)
        found += map(exact, page.data)
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_what_is_deleted_now_is_hidden_then(lived: Lived) -> None:
    """After a soft or a hard deletion, no moment has it."""
    assert len(lived.hidden) == 2
    for run in lived.hidden:
        for moment in (1, lived.times[-1]):
            owner, run_id = run["user_id"], run["id"]
            assert not await reads.get_graph_execution_as_of(lived.db, owner, run_id, moment)
    everything = {one["id"] for one in await listed(lived.db, lived.times[-1], {})}
    assert not everything & {run["id"] for run in lived.hidden}


async def test_moments_that_there_are_not(lived: Lived) -> None:
    """An entry to come is reported as missing; before the first there was no run."""
    run_id, instants = sorted(lived.visible.items())[0]
    owner = instants[0].run["user_id"]
    with pytest.raises(NotYetHappened, match=f"has {len(instants)} entries so far"):
        await find_past(lived.db, run_id, len(instants) + 1)
    for nothing in (0, -1, datetime(2000, 1, 1, tzinfo=UTC)):
        assert await find_past(lived.db, run_id, nothing) is None
    for stranger, unknown in (("nobody", run_id), (owner, str(uuid4())), (owner, "nonsense")):
        assert not await reads.get_graph_execution_as_of(lived.db, stranger, unknown, 1)


async def test_a_trimmed_run(tables: Tables) -> None:
    """Its past is not made up: one alone is an error, a list has it from its last entry on."""
    ended = DAWN + timedelta(minutes=5)
    run_id = await tables.run(trimmed_at=DAWN + timedelta(days=40), updated_at=ended, last_seq=9)
    with pytest.raises(PastIsGone, match="dropped the journal"):
        await find_past(tables.db, run_id, 3)
    assert await listed(tables.db, ended - timedelta(seconds=1), {}) == []
    [found] = await listed(tables.db, ended, {})
    assert (found["id"], found["status"]) == (run_id, "COMPLETED")
    assert found["trimmed_at"] is not None
