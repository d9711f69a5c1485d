"""`execstream demo` and `execstream up`: their processes, their output, and their end."""

import json
import os
import signal
from pathlib import Path

import httpx
import psutil
import pytest

from execstream.cli.supervisor import ROLES
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import HOME, Installation, until


@pytest.mark.promise
async def test_demo(program: Program) -> None:
    """Three runs through workers of its own: nothing lost, rows as the fold has them."""
    told = await program("demo", "--runs=3", "--rate=0", "--exit", "--json")

    assert told.code == 0, told.err
    receipt = told.json()
    assert receipt["runs"] == 3
    assert receipt["lost"] == receipt["refused"] == receipt["dead"] == 0
    assert receipt["sent"] == receipt["acknowledged"] == receipt["applied"] > 30
    assert receipt["events"] >= receipt["redis_messages"] > receipt["sent"]
    assert receipt["kills"] is receipt["seen_as_events"] is receipt["worst_delay"] is None
    assert set(receipt["urls"]) == {"kafka", "postgres", "redis", "http"}
    assert "Nothing was lost" in told.err
    assert not (program.directory / ".execstream" / "demo.jsonl").exists()


@pytest.mark.slow
async def test_demo_among_others(program: Program, place: Installation) -> None:
    """A user ends a run of the demo on the page, and another sends runs: both are counted, without
    a fault.
    """
    known = await place.db.fetchval(_KNOWN)
    async with program.running("demo", "--runs=12", "--rate=150", "--exit", "--json") as demo:
        one = await until(lambda: place.db.fetchrow(_RUNNING, known))
        orders = Orders(run_id=str(one["id"]), user_id=one["user_id"])
        others = Orders()
        orders_of_others = [orders.move("TERMINATED"), others.create(), others.start()]
        lines = [*(order.value or b"" for order in orders_of_others), b"no JSON"]
        assert (await program("emit", "--raw", stdin=b"\n".join(lines))).code == 0
        out, err = await demo.communicate()

    receipt = json.loads(out)
    assert demo.returncode == 0, err.decode()
    assert (receipt["others"], receipt["dead"], receipt["runs"]) == (4, 1, 12)
    assert receipt["lost"] == 0 < receipt["refused"]  # later commands of the demo to the run
    assert b"4 commands of others came meanwhile" in err


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_demo_with_chaos(lost_program: Program) -> None:
    """Workers and servers of the demo are killed; nothing is lost, each command has an event."""
    flags = ("--chaos", "--runs=60", "--rate=300", "--seed=4", "--exit", "--json")
    async with lost_program.running("demo", *flags) as demo:
        out, err = await demo.communicate()

    assert demo.returncode == 0, err.decode()
    receipt = json.loads(out)
    assert receipt["kills"] > 0 == receipt["lost"]
    assert receipt["sent"] == receipt["acknowledged"]
    assert receipt["seen_as_events"] == receipt["applied"] + receipt["refused"] > 0
    assert receipt["worst_delay"] > 0
    assert b"kill -9 of" in err


async def test_chaos_among_foreign_servers(program: Program) -> None:
    """Servers that the demo did not start are not killed: it ends before it sends."""
    told = await program("demo", "--chaos", "--runs=1", "--exit")

    assert (told.code, told.out) == (1, "")
    assert "kills only servers and workers that it has started itself" in told.err


# Their times are simulated, and may be ahead of any clock.
_KNOWN = "select coalesce(array_agg(id), '{}') from graph_execution"
_RUNNING = """
select id, user_id from graph_execution where id <> all($1) and status = 'RUNNING' limit 1
"""


@pytest.mark.slow
async def test_demo_tells_wrong_rows(program: Program, place: Installation) -> None:
    """A row changed behind the workers' back makes the receipt a bad one."""
    known = await place.db.fetchval(_KNOWN)
    async with program.running("demo", "--runs=12", "--rate=300", "--exit", "--json") as demo:
        run_id = await until(lambda: place.db.fetchval(_SPOIL, known))
        out, err = await demo.communicate()

    assert (demo.returncode, json.loads(out)["lost"]) == (1, 0)
    assert f"graph_execution {run_id}: graph_version is 1000000, expected".encode() in err
    assert (program.directory / ".execstream" / "demo.jsonl").exists()


_SPOIL = """
update graph_execution set graph_version = 1000000
 where id = (select id from graph_execution where id <> all($1) and status = 'COMPLETED' limit 1)
returning id
"""


@pytest.mark.promise
@pytest.mark.slow
async def test_up(lost_program: Program) -> None:
    """Servers and workers run, whatever is killed comes back, and Ctrl-C ends all of it."""
    async with lost_program.running("up", "--json") as up:
        assert up.stdout
        addresses = json.loads(await up.stdout.readline())
        assert set(addresses) == {"kafka", "postgres", "redis", "http"}
        async with httpx.AsyncClient() as http:  # it is printed when it answers
            assert (await http.get(addresses["http"])).status_code == 200
        described = lost_program.directory / ".execstream" / "stack.json"
        pids = await until(lambda: _pids(described, {}))
        workers = {f"worker-{role}" for role in ROLES}
        assert set(pids) == {"kafka", "postgres", "redis", "http", *workers}
        checked = await lost_program("topics", "check")
        assert checked.code == 0

        killed = {name: pids[name] for name in ("redis", "worker-apply")}
        for pid in killed.values():
            os.kill(pid, signal.SIGKILL)

        revived = await until(lambda: _pids(described, killed))
        up.send_signal(signal.SIGINT)
        _, err = await up.communicate()
        assert up.returncode == 128 + signal.SIGINT
    assert b".execstream/logs/worker-apply.log" in err  # where the reason of its end is
    assert not any(map(psutil.pid_exists, revived.values()))
    assert not described.exists()


async def _pids(described: Path, killed: dict[str, int]) -> dict[str, int]:
    """The running processes, once all are others than those killed; else none."""
    pids: dict[str, int] = json.loads(described.read_text())["pids"]
    return pids if not pids.items() & killed.items() and "worker-apply" in pids else {}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["up", "demo"])
async def test_sigterm_while_servers_start(lost_program: Program, command: str) -> None:
    """Started processes are ended, and it is an orderly end."""
    noted = lost_program.directory / ".execstream" / "running.json"
    async with lost_program.running(command) as starting:
        pids = await until(lambda: _noted(noted))
        starting.send_signal(signal.SIGTERM)
        _, err = await starting.communicate()
    assert starting.returncode == 0
    assert b"Traceback" not in err
    assert not any(map(psutil.pid_exists, pids))
    assert not noted.exists()


@pytest.mark.slow
async def test_told_twice_to_end(lost_program: Program) -> None:
    """SIGTERM after Ctrl-C ends the waits, and servers are ended all the same."""
    described = lost_program.directory / ".execstream" / "stack.json"
    async with lost_program.running("up", "--json") as up:
        assert up.stdout
        await up.stdout.readline()
        pids = await until(lambda: _pids(described, {}))
        up.send_signal(signal.SIGINT)
        await until(lambda: _ends(pids["http"]))  # it heard the first one
        up.send_signal(signal.SIGTERM)
        _, err = await up.communicate()
    assert b"Traceback" not in err
    assert not any(psutil.pid_exists(pids[name]) for name in ("kafka", "postgres", "redis"))


async def _noted(file: Path) -> list[int]:
    return [entry["pid"] for entry in json.loads(file.read_text())] if file.exists() else []


async def _ends(pid: int) -> bool:
    return not psutil.pid_exists(pid)


async def test_without_the_extra(tmp_path: Path) -> None:
    """Missing packages of the local stack are reported in a sentence."""
    (tmp_path / "psutil.py").write_text("raise ModuleNotFoundError(name='psutil')\n")
    bare = Program(tmp_path, {"PYTHONPATH": f"{tmp_path}:{HOME}"})
    for command in ("up", "demo"):
        told = await bare(command)
        assert (told.code, told.out) == (1, "")
        assert "The local stack needs the extra 'local' (psutil is missing)" in told.err
        assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        (("worker",), "faust", "worker"),
        (("replay", "--into", "rebuilt"), "faust", "worker"),
        (("serve",), "uvicorn", "server"),
    ],
)
async def test_without_an_extra(
    tmp_path: Path, command: tuple[str, ...], missing: str, extra: str
) -> None:
    """The sentence names the missing extra."""
    hidden = f"import sys\nsys.modules['{missing}'] = None\n"  # as if it were not installed
    (tmp_path / "sitecustomize.py").write_text(hidden)
    bare = Program(tmp_path, {"PYTHONPATH": f"{tmp_path}:{HOME}"})
    told = await bare(*command)
    assert (told.code, told.out) == (1, "")
    assert told.err == (
        f"`execstream {command[0]}` needs the extra '{extra}': pip install 'execstream[{extra}]'\n"
    )
