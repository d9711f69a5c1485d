"""Delay until a browser shows a commit, and its behaviour under load.

    python -m bench.browser [--only WHAT ...] [--rate 1000] [--seconds 15] [--runs 100000]
        [--steps 10000]

Servers, workers, an HTTP server and a headless Chromium of its own, all on this machine, so one
clock serves for all. A command counts as committed when the worker's position in Postgres, polled
every millisecond, has passed it, and as shown when the page's own reader of the feed hands its
event over, in a tab that shows a view besides. Load average is printed beside.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from aiokafka import AIOKafkaProducer

from execstream import devstack
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS
from execstream.workload.simulation import load_graphs, simulate
from tests.dashboard.page.browser import Tab, chromium, find_chromium
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation, installation, until

GRAPHS = Path(__file__).parent.parent / "examples" / "graphs"
WARM_UP = 5.0  # seconds
POLL = 0.001  # seconds
BLOCKS = 10  # that fail for the first time
QUESTIONS = 20  # to the API
STARTING = 1_000  # steps of the command that creates the run
CHANGES = 10  # of a long run

_RUNS = """
insert into graph_execution (id, user_id, graph_id, graph_version, status, dry_run, is_deleted,
    is_shared, created_at, started_at, ended_at, updated_at, last_seq, source_partition, stats)
select gen_random_uuid(), 'user-' || i % 1000, 'graph-' || i % 50, 1,
    case when i % 1000 = 1 then 'RUNNING' when i % 20 = 0 then 'FAILED' else 'COMPLETED' end,
    false, false, false, at, at, case when i % 1000 <> 1 then at + i % 90 * interval '1 second' end,
    at, 1, i % 8, jsonb_build_object('cost', i % 13, 'node_count', 7, 'walltime', 2.5)
  from (select i, now() - ($1::int - i) * interval '1 second' as at
          from generate_series(1, $1::int) i) many
"""
# One run in 20 has failed steps, one in 20,000 in a rare way; steps of the last hour, by block.
_ERRORS = """
insert into run_error
select date_trunc('hour', ended_at), source_partition, id, 'block-' || n % 200, 'f' || n % 400,
    case when n % 20000 = 0 then 'quota' else 'outage' end, 1, id, ended_at
  from (select *, row_number() over (order by created_at) as n from graph_execution) run
 where n % 20 = 0
"""
_MINUTES = """
insert into block_minute
select date_trunc('minute', now()) - n * interval '1 minute', 0, 'block-' || k, 9, 1, 9, 1, 0, 0,
    5, 0, '{}', '{}'
  from generate_series(0, 1500) n, generate_series(1, 200) k
"""
_FIRST_ROWS = {
    "now": "#/now",
    "rows": "#/runs",
    "rows_of_a_class": "#/runs?class=outage",
    "rows_of_a_rare_class": "#/runs?class=quota",
    "rows_of_an_error": "#/runs?block_id=block-20&fingerprint=f20",
    "long_rows": "#/runs?longer=60",
    "dear_rows": "#/runs?cost=0.12",
}

# The page's own reader, with the moments at which it hands events over.
_HEAR = """
(async () => {
  const { follow } = await import("/lib/stream.js");
  window.heard = [];
  const live = new Promise((resolve) =>
    follow({}, new AbortController().signal, {
      state: (state) => state === "live" && resolve(),
      event: ({ source }) =>
        window.heard.push([...source, performance.timeOrigin + performance.now()]),
    }));
  await live;
})()
"""
_LONGEST_TASK = """
(() => {
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries())
      window.longest = Math.max(window.longest, duration);
  }).observe({ type: "longtask" });
})()
"""
# When a selector matched, at most a frame late.
_SEEN = """
new Promise((resolve) => {{
  const look = () => ({condition}) ? resolve(performance.timeOrigin + performance.now())
    : requestAnimationFrame(look);
  look();
}})
"""


def now() -> float:
    """Milliseconds since 1970, as the browser has them."""
    return time.time() * 1000


async def messages(place: Installation, tab: Tab, url: str, rate: float, seconds: float) -> Any:
    """Delay from commit to the browser, at `rate` commands/s, while the list of runs is shown."""
    await tab.open(f"{url}/#/runs")
    await tab.sees("document.querySelector('.line')?.dataset.state === 'live'")
    await tab.run(_HEAR)
    committed: dict[tuple[int, int], float] = {}
    before = _cpu()
    feeding = asyncio.create_task(_feed(place, rate, seconds))
    watching = asyncio.create_task(_watch(place, committed))
    last, began = await feeding
    await until(lambda: _reached(committed, last), 60)
    watching.cancel()
    await asyncio.sleep(2)  # for records in flight
    heard = await tab.run("window.heard")
    latencies = [
        at - committed[partition, offset]
        for partition, offset, index, at in heard
        if index == 0 and committed.get((partition, offset), 0) > began + WARM_UP * 1000
    ]
    used = {f"{name}_cpu": round(cpu - before[name], 1) for name, cpu in _cpu().items()}
    return {"rate": rate, "messages": len(latencies), "all": len(heard)} | used | spread(latencies)


def _cpu() -> dict[str, float]:
    """Seconds of CPU that the server and the browser have used."""
    used = {"server": 0.0, "browser": 0.0}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            name = (
                "server"
                if " serve " in line
                else "browser"
                if "--headless" in line or "--type=" in line
                else ""
            )
            if name:
                times = process.cpu_times()
                used[name] += times.user + times.system
    return used


async def _reached(committed: dict[tuple[int, int], float], last: tuple[int, int]) -> bool:
    return last in committed


async def _feed(place: Installation, rate: float, seconds: float) -> tuple[tuple[int, int], float]:
    """Send a simulation open loop; the place of the last command, and when it began."""
    count = int(rate * (WARM_UP + seconds))
    simulation = simulate(load_graphs(GRAPHS), runs=count, seed=1, start=datetime.now(UTC))
    commands = list(itertools.islice(simulation, count))
    topic = place.topic(COMMANDS.name)
    producer = AIOKafkaProducer(bootstrap_servers=place.settings.kafka, acks="all")
    async with producer:
        began = time.monotonic()
        at_first = now()
        for number, (key, value) in enumerate(commands):
            if (ahead := began + number / rate - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            partition = partition_of(key, COMMANDS.partitions)
            sent = await producer.send(topic, value, key, partition=partition)
        done = await sent
    return (done.partition, done.offset), at_first


async def _watch(place: Installation, committed: dict[tuple[int, int], float]) -> None:
    reached: dict[int, int] = {}
    while True:
        rows = await place.db.fetch(
            "select partition, next_offset from consumer_offset where consumer = 'apply'"
        )
        at = now()
        for partition, following in rows:
            for offset in range(reached.get(partition, following), following):
                committed[partition, offset] = at
            reached[partition] = following
        await asyncio.sleep(POLL)


async def block_figures(place: Installation, tab: Tab, url: str) -> Any:
    """Delay from the commit of a block's first failure to its row in the view of blocks."""
    await tab.open(f"{url}/#/blocks")
    await tab.sees("document.querySelector('.line')?.dataset.state === 'live'")
    latencies = []
    for number in range(BLOCKS):
        run, moment = Orders(), {"at": datetime.now(UTC).isoformat()}
        node = run.node("a", block_id=f"block-{number}")
        await place.put([run.create(node, **moment), run.start(**moment)])
        await place.put([run.move_step("a", "RUNNING", **moment)])
        await place.drained()
        row = f"document.querySelector('a[href=\"#/blocks/block-{number}\"]')"
        seen = asyncio.create_task(tab.run(_SEEN.format(condition=row)))
        await place.put([run.move_step("a", "FAILED", **moment)])
        committed = await _when_failed(place, run)
        latencies.append(await seen - committed)
    return spread(latencies)


async def _when_failed(place: Installation, run: Orders) -> float:
    failed = "select from node_execution where graph_exec_id = $1 and status = 'FAILED'"
    while await place.db.fetchrow(failed, run.run_id) is None:  # noqa: ASYNC110 - a worker writes it
        await asyncio.sleep(POLL)
    return now()


async def many_runs(place: Installation, tab: Tab, url: str, count: int) -> Any:
    """Times of first paint, first rows, and the API, with so many runs."""
    for statement, *args in ((_RUNS, count), (_ERRORS,), (_MINUTES,)):
        await place.db.execute(statement, *args, timeout=600)
    for table in ("graph_execution", "run_error", "block_minute"):
        await place.db.execute(f"vacuum analyze {table}", timeout=600)
    painted: list[float] = []
    shown: dict[str, list[float]] = {name: [] for name in _FIRST_ROWS}
    for _ in range(5):
        for name, address in _FIRST_ROWS.items():
            await tab.open(f"{url}/{address}")
            rows = "document.querySelectorAll('tbody tr').length > 0 && performance.now()"
            shown[name].append(await tab.sees(rows))
            paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            painted.append(await tab.sees(paint))
    async with httpx.AsyncClient(base_url=url) as http:
        paths = {"list": "/v1/executions?limit=50&values=false", "counts": "/v1/executions/counts"}
        asked = {name: await _ask(http, path) for name, path in paths.items()}
    return (
        {"runs": count, "first_paint": round(statistics.median(painted), 1)}
        | {name: round(statistics.median(took), 1) for name, took in shown.items()}
        | asked
    )


async def _ask(http: httpx.AsyncClient, path: str) -> float:
    took = []
    for _ in range(QUESTIONS):
        began = now()
        (await http.get(path)).raise_for_status()
        took.append(now() - began)
    return round(statistics.median(took), 1)


async def long_run(place: Installation, tab: Tab, url: str, steps: int) -> Any:
    """A run of so many steps: until it is shown, until a change of it is, and the longest task that
    kept the page from answering meanwhile."""
    run = Orders()
    names = [f"step-{number}" for number in range(steps)]
    first, later = names[:STARTING], names[STARTING:]
    await place.put([run.create(*map(run.node, first)), run.start()])
    await place.put([run.give(name) for name in later])
    await place.drained()
    await tab.open(f"{url}/#/runs/{run.run_id}")
    await tab.run(_LONGEST_TASK)
    shown = await tab.sees("document.querySelector('.step .pill') && performance.now()", 60)
    at_first = await tab.run("window.longest")
    await tab.run("window.longest = 0")
    moved = [await _moved(place, tab, run, name) for name in names[:CHANGES]]
    tasks = {"longest_task_at_first": at_first, "longest_task": await tab.run("window.longest")}
    return {"steps": steps, "shown": round(shown, 1)} | tasks | spread(moved)


async def _moved(place: Installation, tab: Tab, run: Orders, name: str) -> float:
    """Delay from sending a command about a step until the page shows it."""
    row = f'.step[data-id="{run.named(name)}"][data-status=RUNNING]'
    condition = f"document.querySelector('{row}')"
    seen = asyncio.create_task(tab.run(_SEEN.format(condition=condition)))
    sent = now()
    await place.put([run.move_step(name, "RUNNING")])
    return float(await seen) - sent


def spread(latencies: Sequence[float]) -> dict[str, float]:
    """Quantiles of milliseconds."""
    quantiles = statistics.quantiles(latencies, n=100)
    named = {"p50": quantiles[49], "p95": quantiles[94], "max": max(latencies)}
    return {name: round(value, 1) for name, value in named.items()}


@asynccontextmanager
async def everything(state: Path) -> AsyncIterator[tuple[Installation, Tab, str]]:
    """Servers, workers, an HTTP server and a browser."""
    program = find_chromium()
    if program is None:
        raise SystemExit("There is no Chromium here: apt install chromium.")
    stack = await devstack.start(state / "stack")
    async with AsyncExitStack() as running:
        running.push_async_callback(stack.stop)
        place = await running.enter_async_context(installation(stack, state))
        await running.enter_async_context(place.worker())
        for role in ("bridge", "tally"):
            running.push_async_callback((await place.start_worker(role)).stop)
        serving = Program(state, place.settings.environment()).running(
            "serve", "--port=0", "--json"
        )
        server = await running.enter_async_context(serving)
        line = await server.stdout.readline() if server.stdout else b"{}"
        url = json.loads(line)["url"]
        tab = await running.enter_async_context(chromium(program, state / "profile", state))
        await tab.look()
        yield place, tab, url


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="messages, block_figures, long_run, many_runs")
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        async with everything(Path(state)) as (place, tab, url):
            measures: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
                "messages": lambda: messages(place, tab, url, options.rate, options.seconds),
                "block_figures": lambda: block_figures(place, tab, url),
                "long_run": lambda: long_run(place, tab, url, options.steps),
                "many_runs": lambda: many_runs(place, tab, url, options.runs),
            }
            for name, measure in measures.items():
                if options.only and name not in options.only:
                    continue
                figures = await measure()
                print(
                    json.dumps({"what": name} | figures | {"load": os.getloadavg()[0]}), flush=True
                )


if __name__ == "__main__":
    asyncio.run(main())
