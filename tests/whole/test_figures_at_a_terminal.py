"""`execstream watch` and `execstream stats`: figures of everything, for people and for scripts."""

import asyncio
import json
import os
import pty
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation, Worker, until

pytestmark = pytest.mark.usefixtures("worker", "tally")

BLOCK = "brittle"


@pytest.fixture(scope="module")
async def tally(place: Installation) -> AsyncIterator[Worker]:
    """A worker that counts, for as long as the module runs."""
    worker = await place.start_worker("tally")

    async def owns() -> bool:
        assert worker.is_alive, worker.log()
        return bool(worker.said("owns"))

    await until(owns)
    yield worker
    await worker.stop()


@pytest.fixture(scope="module")
async def failed(place: Installation) -> Orders:
    """A run, one step of which failed, and a refusal of it."""
    now = {"at": datetime.now(UTC).isoformat()}
    run = Orders()
    await place.put([run.create(run.node("a", block_id=BLOCK), **now), run.start(**now)])
    await place.put([run.move_step("a", to, **now) for to in ("RUNNING", "FAILED")])
    await place.put([run.move("FAILED", **now), run.move("RUNNING", **now)])
    await place.drained()

    async def is_counted() -> bool:
        return bool(await place.db.fetchval("select sum(failed) from block_minute"))

    await until(is_counted)
    return run


async def test_watch_once(program: Program, failed: Orders) -> None:
    """One look at everything, as a document: runs, commands, lag, blocks, alerts."""
    told = await program("watch", "--once", "--json")

    assert told.code == 0, told.err
    seen = told.json()
    assert seen["runs"]["FAILED"] == 1
    none = dict.fromkeys(("duplicate", "dead", "quarantined"), 0)
    assert seen["commands"] == none | {"applied": 5, "refused": 1}
    assert set(seen["commands_per_second"]) == set(seen["commands"])
    assert seen["seconds"] > 0
    assert seen["lag"]["apply"] == seen["lag"]["tally"] == 0
    [block] = seen["blocks"]
    assert (block["block_id"], block["windows"]["1h"]["error_rate"]) == (BLOCK, 100)


async def test_watch_once_for_people(program: Program, failed: Orders) -> None:
    """The same in words."""
    told = await program("watch", "--once")

    assert told.code == 0, told.err
    assert re.search(r"FAILED +1 +▇+", told.out)
    assert re.search(r"refusals +1 ", told.out)
    assert re.search(rf"{BLOCK} .* 100\.0 % .* █", told.out)


async def test_watch_tells_lag_as_unknown_without_kafka(program: Program, failed: Orders) -> None:
    """Everything else is there."""
    away = {**program.variables, "EXECSTREAM_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    told = await Program(program.directory, away)("watch", "--once", "--json")

    assert told.code == 0, told.err
    assert told.json()["lag"] is None
    assert told.json()["runs"]["FAILED"] == 1


async def test_watch_follows(program: Program, place: Installation, failed: Orders) -> None:
    """It prints line by line for scripts, until Ctrl-C, with the rate of new commands."""
    async with program.running("watch", "--json") as watching:
        await _session(watching)
        await place.put([Orders().create() for _ in range(20)])
        while not (seen := await _session(watching))["commands_per_second"]["applied"]:
            pass
        assert seen["runs"]["INCOMPLETE"] >= 20
        watching.send_signal(signal.SIGINT)
        _, said = await watching.communicate()
    assert watching.returncode == 130
    assert b"Traceback" not in said


async def test_watch_at_a_terminal(program: Program, failed: Orders) -> None:
    """It draws itself, and Ctrl-C ends it and gives the screen back."""
    screen, end = pty.openpty()
    async with program.running("watch", stdout=end) as watching:
        os.close(end)
        shown = await asyncio.to_thread(_read_until, screen, BLOCK)
        watching.send_signal(signal.SIGINT)
        await asyncio.to_thread(_read_until, screen, "\x1b[?1049l")
        await watching.wait()
    os.close(screen)
    assert watching.returncode == 130
    assert "failing blocks" in shown


def _read_until(screen: int, text: str) -> str:
    shown = ""
    while text not in shown:
        shown += os.read(screen, 65_536).decode(errors="replace")
    return shown


async def test_stats_of_blocks(program: Program, failed: Orders) -> None:
    """Each block has its ended and failed steps in the span; none from before; a wrong span is
    refused.
    """
    told = await program("stats", "blocks", "--json")
    [block] = told.json_lines()
    assert (block["block_id"], block["ended"], block["failed"]) == (BLOCK, 1, 1)
    assert (block["error_rate"], block["caller_error_rate"], block["cascaded"]) == (100, 0, 0)
    assert datetime.fromisoformat(block["end"]) - datetime.fromisoformat(
        block["start"]
    ) >= timedelta(hours=1)

    told = await program("stats", "blocks", "--since=5m")
    assert re.search(rf"{BLOCK} +100\.0 % +0\.0 % +1 +1 +0 ", told.out)
    assert "failing, 5m" in told.out

    told = await program("stats", "blocks", "--since=soon")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("'soon' is neither a span like 5m, 1h or 7d nor a time like ")


async def test_stats_of_blocks_goes_on(program: Program, failed: Orders) -> None:
    """With --watch the figures come again and again, until Ctrl-C."""
    async with program.running("stats", "blocks", "--watch", "--json") as watching:
        for _ in range(2):
            assert (await _session(watching))["block_id"] == BLOCK
        watching.send_signal(signal.SIGINT)
        _, said = await watching.communicate()
    assert watching.returncode == 130
    assert b"Traceback" not in said


async def _session(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout
    return json.loads(await process.stdout.readline())
