"""The tally as a process: its output, the effect of a restart, and of kills."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP
from msgspec.structs import astuple

from execstream.agents.budgets.judge import BudgetJudge
from execstream.agents.runtime.partition_buffer import (
    AssignedPartition,
    Batch,
    PartitionBatch,
    PartitionBuffer,
)
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.tally import live_pages
from execstream.agents.tally.aggregator import Tallier, fold_batch
from execstream.agents.tally.changelog import Changelog, TableRecord
from execstream.agents.tally.live_view import LiveView
from execstream.agents.tally.tally_stats import TallyPositions
from execstream.agents.worker import build_app
from execstream.devstack import Addresses
from execstream.devstack.ports import free_ports
from execstream.storage.commit.totals import MOST_NODES, load_live
from execstream.storage.connections import Session, connect
from execstream.storage.reads.block_figures import get_block_figures, get_top_errors
from execstream.storage.schema.migrate import migrate
from execstream.streams.events import NOWHERE, SourceOffset
from execstream.streams.topics import BLOCK_STATS, EVENTS
from execstream.streams.totals.definitions import Definitions, definition
from execstream.streams.totals.live_values import LiveStats
from tests.agents import tallied, torturing
from tests.agents.applying import Record, Still
from tests.names import Names
from tests.orders import DAWN, Orders
from tests.worker import QUICK, Installation, Worker, installation, settings_at, until


async def begun(place: Installation, port: int = 0) -> Worker:
    """A tally worker that owns its partitions; the caller stops it."""
    worker = await place.start_worker("tally", timing=QUICK, tally_port=port)

    async def owns() -> bool:
        assert worker.is_alive, worker.log()[-5:]
        return bool(worker.said("owns"))

    await until(owns)
    return worker


@pytest.mark.slow
async def test_what_happened_is_told_everywhere(stack: Addresses, tmp_path: Path) -> None:
    """Totals in Postgres, the worker's pages and the topic agree with the rows; after kill -9 a
    new worker begins with all of it and goes on."""
    orders, [port] = Orders(), free_ports(1)
    async with installation(stack, tmp_path) as place, place.worker():
        first = await begun(place)
        try:
            await place.put([orders.create(), orders.start(), orders.give("a"), orders.give("b")])
            await place.put([orders.move_step("a", "RUNNING"), orders.move_step("b", "RUNNING")])
            await place.put([orders.move_step("a", "COMPLETED", stats={"cost": 7})])
            await place.drained()
            await place.events()
            await tallied.counted(place)
        finally:
            await first.kill()
        second = await begun(place, port)
        try:
            await place.put([orders.move_step("b", "FAILED", stats={"error": "HTTP 503"})])
            await place.drained()
            await place.events()
            await tallied.counted(place)
            wrong = await tallied.differences(place)
            totals, nodes = await tallied.totals(place), await tallied.node_totals(place)

            async def shown(path: str, *keys: str) -> tallied.Figures:
                _, entries = await tallied.live(path, [port])
                return tallied.summed(entries, *keys)

            for name, expected, found in (
                ("blocks", totals, lambda: shown(live_pages.BLOCKS, "block_id")),
                ("nodes", nodes, lambda: shown(live_pages.NODES, "graph_id", "node_id")),
                ("topic", totals, lambda: tallied.published(place)),
            ):
                wrong += await tallied.eventually_equal(name, expected, found)
        finally:
            code = await second.stop()

    assert not wrong
    assert totals["block",] == (2, 1, 2, 1, 0, 4_000, 7, 0, 0, 0)
    assert code == 0


async def test_figures_of_blocks_are_read_from_the_totals(stack: Addresses, tmp_path: Path) -> None:
    """With quantiles of durations, and with the last run that failed for each kind of error."""
    orders = Orders()
    async with installation(stack, tmp_path) as place, place.worker():
        worker = await begun(place)
        try:
            await place.put([orders.create(), orders.give("a"), orders.move_step("a", "RUNNING")])
            stats = {"cost": 7, "error": "HTTP 429 for 17"}
            await place.put([orders.move_step("a", "FAILED", stats=stats)])
            await place.drained()
            await place.events()
            await tallied.counted(place)
        finally:
            await worker.stop()
        db = await connect(stack.postgres_dsn, place.settings.schema_)
        try:
            end = DAWN.replace(hour=8)
            [block] = await get_block_figures(db, DAWN, end)
            [error] = await get_top_errors(db, DAWN, end, "block")
        finally:
            await db.close()

    assert (block.added, block.ended, block.failed, block.cost) == (1, 1, 1, 7)
    assert block.error_rate == 100
    assert block.p99_ms == pytest.approx(1_000, rel=0.02)
    assert block.error_classes == {"quota": 1}
    assert (error.masked, error.failures) == ("HTTP <n> for <n>", 1)
    assert str(error.graph_exec_id) == orders.run_id


RUN = "0198c8f0-0000-7000-8000-0000000000aa"


def moved(place: int, **fields: Any) -> bytes:
    """An event: a step failed; its source is at `place` in partition 0."""
    about = {"type": "node.updated", "at": DAWN.isoformat(), "source": [0, place, 0]}
    about |= {"block_id": "block", "graph_id": "graph", "node_id": "node", "user_id": "ada"}
    about |= {"graph_exec_id": RUN, "node_exec_id": RUN}
    return json.dumps(about | {"status": "FAILED", "stats": {"error": "boom"}} | fields).encode()


DEEP = b"[" * 100_000
# A foreign record, with a source above all that is counted.
FOREIGN: dict[str, bytes | None] = {
    "no value": None,
    "empty": b"",
    "no JSON": b"{",
    "null": b"null",
    "no UTF-8": moved(50).replace(b"boom", b"\xff"),
    "a name that is no UTF-8": moved(50).replace(b"ada", b"\xff"),
    "deep": moved(50)[:-1] + b', "more": ' + DEEP + b"}",
    "deep stats": moved(50, stats=None).replace(b"null", DEEP),
    "no stats": moved(50, stats=5),
    "half a surrogate": moved(50, stats={"error": "\ud800"}),
    "a time of no zone": moved(50, at="2026-03-01T06:30:00"),
    "another's partition": moved(50, source=[1, 50, 0]),
    "no source": moved(50, source=None),
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_event_counts_nothing(foreign: bytes | None) -> None:
    """It counts nothing, and later events count as ever."""
    work = fold_batch(batch([moved(1), foreign, moved(2)]))

    alone = fold_batch(batch([moved(1), moved(2)]))
    [offset_commit] = work.offset_commits
    assert (offset_commit.applied, offset_commit.duplicate, offset_commit.next) == (2, 1, 3)
    assert (offset_commit.published_offset, offset_commit.published_index) == (2, 0)
    assert vars(work.tally) == vars(alone.tally)


def batch(values: Sequence[bytes | None], owned: AssignedPartition | None = None) -> Batch:
    """The next one of partition 0 of the events, nothing of which was counted before."""
    if owned is None:
        owned = AssignedPartition(
            TP("events", 0), epoch=1, base=0, published=NOWHERE, next=0, done=0
        )
    part = PartitionBatch(owned, owned.next)
    for value in values:
        record: Any = Record(0, owned.next, b"", value, topic=owned.tp.topic)
        part.records.append(record)
        owned.next += 1
    return Batch([part])


@asynccontextmanager
async def running(place: Installation) -> AsyncIterator[Worker]:
    """A tally worker that is alive and well at the end."""
    worker = await begun(place)
    yield worker
    assert worker.is_alive, worker.log()[-5:]
    assert await worker.stop() == 0


class Unheard(Changelog):
    """A topic without any writer."""

    def __init__(self) -> None:
        super().__init__("", BLOCK_STATS.name)

    async def places(self, partitions: Sequence[int]) -> dict[int, SourceOffset]:
        return dict.fromkeys(partitions, NOWHERE)

    async def publish(self, table_records: Mapping[int, Sequence[TableRecord]]) -> None:
        pass


_MANY_NODES = """
insert into node_total
select 0, 'graph', 'node' || n, n, 0, $1, n, 0, n, 0, 0, n, n, n from generate_series(0, $2) as n
"""
_DAYS_OF_NODES = """
insert into node_day
select $1::date - ago, 0, 'graph', 'node' || n, 1, 0, 1, 0, 0, 1, 1, 1
  from generate_series(0, 1) as n, generate_series(0, 2) as ago
"""
_NODE = """
select t.position_offset, t.added, t.added_failed, t.ended, t.failed, t.terminated,
       t.duration_ms, t.cost, t.tokens, t.cascaded, t.caller_failed, t.skewed,
       (select array_agg(array[d.day - date '1970-01-01', d.ended, d.failed] order by d.day)
          from node_day d where d.node_id = t.node_id and d.day > $2)
  from node_total t where t.node_id = $1
"""


async def test_nodes_that_come_back_are_exact(stack: Addresses, names: Names) -> None:
    """Of more nodes than the table holds, those that were silent for longest are not loaded, and
    dropped when others come; later events of one are added to its full totals.
    """
    await migrate(stack.postgres_dsn, names.schema)
    settings = settings_at(stack, names)
    session = Session(stack.postgres_dsn, names.schema)
    db = await session.get()
    await db.execute(_MANY_NODES, DAWN.date(), MOST_NODES)
    await db.execute(_DAYS_OF_NODES, DAWN.date())
    app: Any = build_app("tally", settings)
    view = LiveView(app, Unheard())
    store = TallyPositions(session, definition())
    buffer = PartitionBuffer("events", store, lambda parts: view.begin(parts, store.live))
    judge = BudgetJudge(settings)
    tallier = Tallier(settings, buffer, view, Phases(), Definitions(), judge)
    [owned] = await buffer.claim({TP("events", 0): (0, 0)})
    await buffer.take_over([owned], Still())

    async def fail(*nodes: str) -> None:
        """A step of each of them, in one batch."""
        place = MOST_NODES + owned.next
        values = [moved(place + i, node_id=node) for i, node in enumerate(nodes, 1)]
        await tallier.tally(batch(values, owned))
        await tallier.close()

    async def differing() -> list[str]:
        await view.tick()
        held = view.node_stats.data.data
        wanted = {
            node: await db.fetchrow(_NODE, node, DAWN.date() - timedelta(days=2))
            for node in run_ids
        }
        return [node for node, row in wanted.items() if told(held[f"0|graph/{node}"]) != tuple(row)]

    held = view.node_stats.data.data
    assert len(held) == MOST_NODES
    assert "0|graph/node0" not in held
    await fail("node0", "node0", "fresh", "node5")
    run_ids = ["node0", "fresh", "node5", f"node{MOST_NODES}"]
    assert not await differing()
    await fail("node0", "fresh")  # evicts the first one, node1
    assert "0|graph/node1" not in held
    assert not await differing()
    await fail("node1", "node0")
    run_ids.append("node1")
    assert not await differing()
    assert len(held) <= MOST_NODES + len(run_ids)
    app.consumer._thread.thread_loop.close()
    await session.close()


async def test_clocks_that_are_ahead_hide_nothing(stack: Addresses, names: Names) -> None:
    """Steps dated far ahead count in all totals, and the recent past is unchanged: neither are they
    in it, nor does it end with them. So it is after a restart.
    """
    await migrate(stack.postgres_dsn, names.schema)
    session = Session(stack.postgres_dsn, names.schema)
    app: Any = build_app("tally", settings_at(stack, names))
    view = LiveView(app, Unheard())
    store = TallyPositions(session, definition())
    buffer = PartitionBuffer("events", store, lambda parts: view.begin(parts, store.live))
    settings = settings_at(stack, names)
    tallier = Tallier(settings, buffer, view, Phases(), Definitions(), BudgetJudge(settings))
    [owned] = await buffer.claim({TP("events", 0): (0, 0)})
    await buffer.take_over([owned], Still())
    now, ahead = datetime.now(UTC).isoformat(), "2099-01-01T00:00:00+00:00"

    values = [moved(1, at=now), moved(2, at=ahead), moved(3, at=ahead, block_id="other")]
    await tallier.tally(batch(values, owned))
    await tallier.close()

    def recent() -> list[tuple[int, list[tuple[int, int]]]]:
        stats = [view.block_stats.data.data[f"0|{block}"] for block in ("block", "other")]
        return [(one.totals.ended, list(one.recent.values())) for one in stats]

    await view.tick()
    assert recent() == [(2, [(1, 1)]), (1, [])]
    [node] = view.node_stats.data.data.values()
    assert (node.totals.ended, list(node.recent.values())) == (3, [(1, 1)])
    view.begin([owned], await load_live(await session.get(), [0]))
    assert recent() == [(2, [(1, 1)]), (1, [])]
    app.consumer._thread.thread_loop.close()
    await session.close()


class Late(Unheard):
    """Answers when it is let, and keeps the keys that it is to publish."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.keys: list[bytes] = []

    async def places(self, partitions: Sequence[int]) -> dict[int, SourceOffset]:
        await self.may_answer.wait()
        return await super().places(partitions)

    async def publish(self, table_records: Mapping[int, Sequence[TableRecord]]) -> None:
        self.keys += [key for records in table_records.values() for key, _ in records]


async def test_a_worker_that_ends_early_publishes_all(stack: Addresses, names: Names) -> None:
    """It waits until it knows the values that are missing: nobody else may come to publish them."""
    await migrate(stack.postgres_dsn, names.schema)
    session = Session(stack.postgres_dsn, names.schema)
    settings = settings_at(stack, names)
    app: Any = build_app("tally", settings)
    changelog = Late()
    view = LiveView(app, changelog)
    store = TallyPositions(session, definition())
    buffer = PartitionBuffer("events", store, lambda parts: view.begin(parts, store.live))
    tallier = Tallier(settings, buffer, view, Phases(), Definitions(), BudgetJudge(settings))
    [owned] = await buffer.claim({TP("events", 0): (0, 0)})
    await buffer.take_over([owned], Still())
    await tallier.tally(batch([moved(1)], owned))
    await tallier.close()

    finishing = asyncio.ensure_future(view.finish())
    await asyncio.sleep(0)
    assert not finishing.done()
    changelog.may_answer.set()
    await finishing

    assert changelog.keys == [b"0|block"]
    app.consumer._thread.thread_loop.close()
    await session.close()


def told(stats: LiveStats) -> tuple[Any, ...]:
    """The value in the form of `_NODE`."""
    recent = [[day, *counts] for day, counts in sorted(stats.recent.items())]
    return (stats.place[0], *astuple(stats.totals), recent or None)


async def test_foreign_records_stop_nothing(stack: Addresses, tmp_path: Path) -> None:
    """Among the events they are skipped. At the end of the tally's own topic, where a worker reads
    the progress of its predecessor, they count as unknown: all values are published again.
    """
    orders = Orders()
    ends = (None, b"", b"{", b"null", moved(1), b'{"position": "\xff"}', DEEP, b'{"a":' + DEEP)

    async def end_with(topic: str, *values: bytes | None) -> None:
        for number, value in enumerate(values):
            name = place.topic(topic)
            await place.producer.send_and_wait(name, value, b"0|block", partition=number)

    async def lives() -> Any:
        return worker.said("live")

    async with installation(stack, tmp_path) as place, place.worker():
        await end_with(EVENTS.name, *ends)
        await end_with(BLOCK_STATS.name, *ends)
        async with running(place) as worker:
            await place.put([orders.create(), orders.give("a"), orders.move_step("a", "RUNNING")])
            await place.put([orders.move_step("a", "COMPLETED", stats={"cost": 7})])
            await place.drained()
            await tallied.agreed(place)
            await until(lives)
        await end_with(BLOCK_STATS.name, *[None] * BLOCK_STATS.partitions)
        async with running(place) as worker:
            [live] = await until(lives)
        totals = await tallied.totals(place)

    assert live["missing"] == live["blocks"] == 1
    assert totals["block",] == (1, 0, 1, 0, 0, 1_000, 7, 0, 0, 0)


_IS_IN_THE_WAY = """
select exists (select from pg_stat_activity where $1 = any(pg_blocking_pids(pid)))
"""


async def test_it_stops_while_its_commit_waits(stack: Addresses, tmp_path: Path) -> None:
    """It stops for any reason, and after any time: the next owner counts the rest."""
    orders = Orders()

    async with installation(stack, tmp_path) as place, place.worker():
        worker = await begun(place)
        async with place.db.acquire() as other, other.transaction():
            holder = await other.fetchval("select pg_backend_pid()")
            await other.execute("select from consumer_offset where consumer = 'tally' for update")
            await place.put([orders.create(), orders.give("a")])
            await until(lambda: place.db.fetchval(_IS_IN_THE_WAY, holder))
            assert await worker.stop() == 0
        async with running(place):
            await place.drained()
            await tallied.agreed(place)


@pytest.mark.slow
async def test_nothing_is_counted_twice_and_nothing_left_out(
    stack: Addresses, tmp_path: Path
) -> None:
    """Under 1,000 commands/s two workers are killed, stopped beyond their session, and given old
    events again: in the end rows, journal, totals, tables and topic agree.
    """
    outcome = await torturing.torture(stack, tmp_path, torturing.SHORT, seed=1)

    assert not outcome.wrong
    assert outcome.events > outcome.acknowledged > 0
