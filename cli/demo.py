"""`execstream demo`: real agent graphs through real servers, live at the terminal."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, NamedTuple

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, PositiveInt
from msgspec.structs import asdict

from execstream.cli.chaos import Chaos, NotOwned, raging
from execstream.cli.common import Json, print_json, report_unknown_variables, table
from execstream.cli.demo_view import show
from execstream.cli.graphs import Graphs, read_graphs
from execstream.cli.progress_bar import counted
from execstream.cli.stack import (
    LOGS,
    http_url,
    page_here,
    prepare,
    running_here,
    servers,
    until_it_answers,
    with_free_ports,
    workers,
)
from execstream.cli.supervisor import ROLES, SERVER, WORKER
from execstream.cli.terminal import Text, err, out
from execstream.config.logs import configure_logging
from execstream.config.process_lifetime import cancel_on_sigterm, stop_signals
from execstream.config.settings import (
    LOCAL_STATE,
    Settings,
    load_settings,
    names_servers,
    read_settings,
)
from execstream.config.shown_addresses import shown_address
from execstream.kafka.security import configure_security
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.demo import ENDING, Demo, Receipt

COMMANDS_FILE = LOCAL_STATE / "demo.jsonl"
RUNS_WITH_EXIT = 100
CHECKING = "Comparing rows"


async def demo(
    *,
    runs: PositiveInt | None = None,
    rate: NonNegativeFloat = 500,
    seed: int | None = None,
    chaos: Annotated[bool, Parameter(negative="")] = False,
    exit: Annotated[bool, Parameter(negative="")] = False,  # noqa: A002 - the flag's name
    graphs: Graphs = EXAMPLE_GRAPHS,
    json: Json = False,
) -> int:
    """Run agent graphs through the pipeline, and get a receipt at the end or at Ctrl-C.

    Uses the servers of the settings, or the local stack, which it starts if none is running.

    Parameters
    ----------
    runs
        Number of runs, besides the child runs they start; without it until Ctrl-C.
    rate
        Commands per second; 0 for as fast as it goes.
    seed
        The same seed makes the same runs; another one each time by default.
    chaos
        Kill workers, Redis, Postgres and the broker one after the other while commands are sent.
        Only processes that this demo has started itself are killed; they come back by themselves.
    exit
        End after the receipt, and after 100 runs by default, instead of keeping
        servers that were started running until Ctrl-C.
    graphs
        Directory of graphs to run.
    """
    cancel_on_sigterm()
    chosen = seed if seed is not None else secrets.randbits(63)
    wanted = RUNS_WITH_EXIT if exit and runs is None else runs
    performance = Demo(read_graphs(graphs), wanted, rate, chosen, COMMANDS_FILE)
    configure_logging(read_settings())
    if chaos:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs each attempt to connect
    report_unknown_variables()
    writing = asyncio.create_task(asyncio.to_thread(performance.write))
    async with _pipeline(chaos_seed=chosen if chaos else None) as (settings, page, killer):
        stop = stop_signals()
        stop.add_done_callback(_say_how_it_ends)
        await writing
        _print_page(page)
        async with (
            show(performance, settings, with_events=rate > 0),
            raging(killer, performance, rate),
        ):
            await performance.perform(settings, stop)
        if not stop.done():
            stop.add_done_callback(lambda _: performance.cut_short())
        receipt = await _receipt(performance, settings, page)
        stop.remove_done_callback(_say_how_it_ends)
        _print_receipt(receipt, json=json)
        if not exit and not stop.done():
            err.print("Everything keeps running until Ctrl-C.")
            _print_page(page)
            await stop
    return 0 if receipt.is_good else 1


class _Pipeline(NamedTuple):
    """Settings with the addresses of servers, the URL of the page, and the chaos, if any."""

    settings: Settings
    page: str
    chaos: Chaos | None


@asynccontextmanager
async def _pipeline(chaos_seed: int | None) -> AsyncIterator[_Pipeline]:
    """Servers and workers: those of the settings, of a running `up`, or of this process.

    `chaos_seed`: of the choice of victims; None: nothing is killed. Raises NotOwned.
    """
    others = running_here()
    if chaos_seed is not None and (others or names_servers(read_settings())):
        raise NotOwned
    page = page_here() if SERVER in others else None
    async with AsyncExitStack() as running:
        settings, stack = with_free_ports(read_settings()), None
        if names_servers(settings) or others:
            settings = with_free_ports(load_settings())
            configure_security(settings.kafka_security)
        else:
            settings, stack = await running.enter_async_context(servers(settings))
        await prepare(settings, stack)
        url = page or http_url(settings)
        works = any(name.startswith(WORKER) for name in others)
        roles = (*(() if works else ROLES), *(() if page else (SERVER,)))
        own = await running.enter_async_context(workers(settings, stack, roles, url))
        await until_it_answers(url)
        killer = None
        if stack is not None and chaos_seed is not None:
            killer = Chaos(stack, own, chaos_seed)
        yield _Pipeline(settings, url, killer)


def _say_how_it_ends(_: asyncio.Future[int]) -> None:
    err.print(
        f"Ending: nothing more is sent. Sent commands have {ENDING:.0f} s to take effect, and the "
        f"comparison of its rows {ENDING:.0f} s; nothing is lost. Ctrl-C again ends at once.",
        soft_wrap=True,
    )


def _print_page(url: str) -> None:
    err.print()
    err.print(Text.assemble("The page: ", (url, "bold underline")))
    err.print()


async def _receipt(performance: Demo, settings: Settings, page: str) -> Receipt:
    urls = {
        "kafka": settings.kafka,
        "postgres": shown_address(settings.postgres),
        "redis": shown_address(settings.redis),
        "http": page,
    }
    with counted() as report_progress:
        return await performance.receipt(settings, urls, partial(report_progress, CHECKING))


def _print_receipt(receipt: Receipt, *, json: bool) -> None:
    fields = asdict(receipt)
    differences = fields.pop("differences")
    if json:
        print_json(fields)
    else:
        rows = table("receipt", "")
        for name, address in fields.pop("urls").items():
            rows.add_row(name, address)
        for name, figure in fields.items():
            if figure is not None:
                rows.add_row(name.replace("_", " "), f"{figure:,}")
        out.print(rows)
    if receipt.others:
        err.print(f"{receipt.others:,} commands of others came meanwhile: the outcomes count them.")
    for line in (_verdict(receipt), *differences):
        err.print(line, soft_wrap=True)


def _verdict(receipt: Receipt) -> str:
    if receipt.differences:
        return f"Rows are not as they must be; {len(receipt.differences)} differences are told:"
    if receipt.unseen:
        return (
            f"{receipt.unseen:,} commands were applied or refused, and their events did not come."
        )
    if receipt.lost:
        return f"{receipt.lost:,} commands were not applied. The logs are in {LOGS}/."
    if receipt.unchecked or receipt.waiting:
        return (
            "Nothing was lost, and every row that was compared is as an independent fold of the "
            f"commands has it. {receipt.waiting:,} commands wait in Kafka for the next workers, "
            f"and rows of {receipt.unchecked:,} were not compared."
        )
    return "Nothing was lost, and every row is as an independent fold of the commands has it."
