"""The `execstream` program against real servers and workers: its output and its end."""

import json
import os
import signal
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from execstream import __version__
from execstream.cli import app
from execstream.cli.supervisor import ROLES
from execstream.config.settings import SERVERS
from execstream.streams.topics import COMMANDS, TOPICS
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation, Worker, until

NO_SERVERS = "No servers are named and no local stack runs here: run `execstream up`, or set "
COMMANDS_OF_THE_PROGRAM = sorted(name for name in app if not name.startswith("-"))


# ---- help, settings, failures ----------------------------------------------------------------


async def test_help(lost_program: Program) -> None:
    """The program lists its commands, on stdout and with exit code 0."""
    told = await lost_program("--help")
    assert (told.code, told.err) == (0, "")
    for command in COMMANDS_OF_THE_PROGRAM:
        assert command in told.out


async def test_version(lost_program: Program) -> None:
    """The program prints its version."""
    told = await lost_program("--version")
    assert (told.code, told.out, told.err) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS_OF_THE_PROGRAM)
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command prints its usage."""
    app([command, "--help"], result_action="return_value")
    told = capsys.readouterr()
    assert f"Usage: execstream {command}" in told.out
    assert told.err == ""


async def test_wrong_command_line(lost_program: Program) -> None:
    """One sentence on stderr and exit code 2."""
    told = await lost_program("topics", "aply")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith('Unknown command "aply"')


async def test_nothing_configured(lost_program: Program) -> None:
    """Without variables and without a local stack the way out is printed."""
    told = await lost_program("topics", "check")
    assert (told.code, told.out) == (1, "")
    assert (
        told.err == NO_SERVERS + ", ".join(f"EXECSTREAM_{one.upper()}" for one in SERVERS) + ".\n"
    )


async def test_local_stack(place: Installation, tmp_path: Path) -> None:
    """Without variables the stack of `.execstream/stack.json` is used, and a note is printed."""
    servers = {server: getattr(place.settings, server) for server in SERVERS}
    (tmp_path / ".execstream").mkdir()
    (tmp_path / ".execstream" / "stack.json").write_text(json.dumps(servers))
    told = await Program(tmp_path, {})("config", "show", "--json")
    assert told.code == 0
    assert told.err == "Using the local stack of .execstream/stack.json\n"
    assert told.json()["EXECSTREAM_KAFKA_BOOTSTRAP"] == place.settings.kafka


async def test_config_show_without_servers(lost_program: Program) -> None:
    """Missing servers are reported, and everything else is shown."""
    told = await lost_program("config", "show", "--json")
    assert (told.code, told.json()["EXECSTREAM_SCHEMA"]) == (0, "execstream")
    assert told.err.startswith(NO_SERVERS)


async def test_config_show_hides_passwords(tmp_path: Path) -> None:
    """Addresses are shown without their passwords, everything by its variable."""
    dsn = "postgresql://me:s3cret@db/x"
    redis = "redis://:s3cret@r:6379/0"
    variables = {"EXECSTREAM_POSTGRES_DSN": dsn, "EXECSTREAM_REDIS_URL": redis}
    program = Program(tmp_path, variables)
    for told in (await program("config", "show"), await program("config", "show", "--json")):
        assert told.code == 0
        assert "s3cret" not in told.out + told.err
        assert "postgresql://me:***@db/x" in told.out
        assert "redis://:***@r:6379/0" in told.out
        assert "EXECSTREAM_MAX_COMMAND_BYTES" in told.out


async def test_variables_that_are_no_settings(tmp_path: Path) -> None:
    """Each is named once on stderr, with the nearest setting; stdout has the document alone."""
    variables = {"EXECSTREAM_TALY_URLS": "x", "EXECSTREAM_KAFKA_BOOTSTRAP": "h:1"}
    told = await Program(tmp_path, variables)("config", "show", "--json")
    assert told.code == 0
    assert told.err == (
        "EXECSTREAM_TALY_URLS is no setting; the nearest one is EXECSTREAM_TALLY_URLS.\n"
    )
    assert "EXECSTREAM_TALY_URLS" not in told.json()


async def test_wrong_settings_are_named_together(tmp_path: Path) -> None:
    """All in one sentence, with their values unless those may hold passwords."""
    wrong = {
        "EXECSTREAM_POSTGRES_DSN": "mysql://me:s3cret@db",
        "EXECSTREAM_SCHEMA": "No Schema",
        "EXECSTREAM_MAX_COMMAND_BYTES": "8MB",
        "EXECSTREAM_MAX_MESSAGE_BYTES": "4095",  # ids might be shortened
    }
    told = await Program(tmp_path, wrong)("topics", "check")
    assert told.code == 1
    assert "EXECSTREAM_POSTGRES_DSN must be like postgresql://" in told.err
    assert "EXECSTREAM_SCHEMA is 'No Schema' and must be" in told.err
    assert "EXECSTREAM_MAX_COMMAND_BYTES is '8MB'" in told.err
    assert "EXECSTREAM_MAX_MESSAGE_BYTES is '4095'" in told.err
    assert "s3cret" not in told.err


@pytest.mark.parametrize(
    ("variable", "address", "command"),
    [
        ("KAFKA_BOOTSTRAP", "127.0.0.1:1", ("topics", "check")),
        ("KAFKA_BOOTSTRAP", "127.0.0.1:1", ("emit", "-")),
        ("POSTGRES_DSN", "postgresql://me:s3cret@127.0.0.1:1/x", ("list",)),
        ("REDIS_URL", "redis://:s3cret@127.0.0.1:1/0", ("listen",)),
    ],
)
async def test_nobody_answers(
    program: Program, variable: str, address: str, command: tuple[str, ...]
) -> None:
    """A server that is not there: a sentence, no traceback, no password."""
    away = Program(program.directory, {**program.variables, f"EXECSTREAM_{variable}": address})
    told = await away(*command)
    assert (told.code, told.out) == (1, "")
    assert "127.0.0.1" in told.err
    assert "Traceback" not in told.err
    assert "s3cret" not in told.err


# ---- topics and migrations --------------------------------------------------------------------


async def test_topics(program: Program, place: Installation) -> None:
    """`list` prints all topics; `check` fails until `apply` has run."""
    listed = (await program("topics", "list", "--json")).json_lines()
    assert [one["name"] for one in listed] == [topic.name for topic in TOPICS]
    shown = await program("topics", "list")
    assert all(topic.name in shown.out for topic in TOPICS)

    fresh = f"{place.settings.topic_prefix}fresh."
    there = Program(program.directory, {**program.variables, "EXECSTREAM_TOPIC_PREFIX": fresh})
    checked = await there("topics", "check", "--json")
    assert checked.code == 1
    assert {line["topic"] for line in checked.json_lines()} == {
        fresh + topic.name for topic in TOPICS
    }
    applied = await there("topics", "apply")
    assert applied.code == 0
    assert applied.out.count("created") == len(TOPICS)
    again = await there("topics", "check")
    assert (again.code, again.out) == (0, "All topics are as they should be.\n")


async def test_migrate(program: Program, place: Installation) -> None:
    """The script holds every table; a second application changes nothing."""
    script = await program("migrate", "--sql")
    assert script.code == 0
    assert f'create schema if not exists "{place.settings.schema_}"' in script.out
    assert "create table graph_execution" in script.out
    again = await program("migrate", "--json")
    assert (again.code, again.json()) == (0, {"applied": []})


# ---- commands in, runs out ----------------------------------------------------------------------


def a_run() -> tuple[Orders, list[bytes]]:
    """A completed run with one step."""
    orders = Orders()
    life = [
        orders.create(orders.node("n", inputs={"a": 1})),
        orders.start(),
        orders.emit("n", data={"x": [1]}),
        orders.move("COMPLETED"),
    ]
    return orders, [order.value or b"" for order in life]


async def test_emit_list_show(program: Program, place: Installation, worker: Worker) -> None:
    """Emitted commands are applied, listed and shown."""
    assert worker.is_alive
    orders, lines = a_run()
    file = program.directory / "commands.jsonl"
    file.write_bytes(b"\n".join(lines) + b"\n")

    sent = await program("emit", str(file))

    assert (sent.code, sent.json()) == (0, {"sent": 4, "acknowledged": 4})
    await place.drained()
    listed = (await program("list", "--user", orders.user_id, "--json")).json_lines()
    assert (orders.run_id, "COMPLETED") in {(run["id"], run["status"]) for run in listed}
    assert orders.run_id in (await program("list", "--status", "COMPLETED")).out
    assert orders.run_id not in (await program("list", "--status", "FAILED")).out
    run = (await program("show", orders.run_id, "--json")).json()
    assert run["node_executions"][0]["output_data"] == {"out": [{"x": [1]}]}
    shown = await program("show", orders.run_id)
    assert shown.code == 0
    assert orders.named("n") in shown.out


async def test_show_nothing(program: Program) -> None:
    """A missing run, and an invalid id: a sentence."""
    for run_id in (str(uuid4()), "nonsense"):
        told = await program("show", run_id)
        assert (told.code, told.out) == (1, "")
        assert told.err.startswith(f"There is no run {run_id}")


async def test_emit_names_wrong_lines(program: Program, place: Installation) -> None:
    """Lines that are not JSON objects are reported by number and not sent; the others are."""
    good = json.dumps({"graph_exec_id": "somebody"}).encode()
    before = await place._ends(COMMANDS.name)

    told = await program("emit", stdin=b"\n".join([good, b"nope", b"[1]", b"", good]))

    assert (told.code, told.json()) == (1, {"sent": 2, "acknowledged": 2})
    assert told.err == "Line 2 is no JSON object.\nLine 3 is no JSON object.\n"
    after = await place._ends(COMMANDS.name)
    assert sum(after.values()) - sum(before.values()) == 2


async def test_emit_goes_on_after_what_nobody_can_read(program: Program) -> None:
    """Text that is no UTF-8 and objects nested by the thousand are lines like others."""
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    lines = b"\n".join([b"{}", deep, b'{"a":"\xff"}', b"{}"])

    told = await program("emit", stdin=lines)
    raw = await program("emit", "--raw", "--json", stdin=lines)

    assert (told.code, told.json()) == (1, {"sent": 3, "acknowledged": 3})
    assert told.err == "Line 2 is no JSON object.\n"
    assert (raw.code, raw.json(), raw.err) == (0, {"sent": 4, "acknowledged": 4}, "")


async def test_emit_knows_its_options(lost_program: Program) -> None:
    """An argument that looks like an option is not the name of a file."""
    told = await lost_program("emit", "--rwa")
    assert (told.code, told.out) == (2, "")
    assert "Unknown option --rwa" in told.err


async def test_emit_raw(program: Program, place: Installation) -> None:
    """Lines go as they are; keys are taken from readable parts."""
    lines = [b'{"graph_exec_id": "raw-1", broken', b"\xff\xfe", b"", b'{"user_id":"u"}']

    told = await program("emit", "--raw", stdin=b"\n".join(lines) + b"\n")

    assert (told.code, told.json()) == (0, {"sent": 4, "acknowledged": 4})
    records = {record.value: record.key for record in await place.commands()}
    assert [records[line] for line in lines] == [b"raw-1", None, None, None]


async def test_key_of_key_values(program: Program, place: Installation) -> None:
    """A `kv.set` is keyed by its user."""
    order = Orders(user_id=f"user-{uuid4()}").keep()
    assert (await program("emit", stdin=order.value or b"")).code == 0
    assert order.key in {record.key for record in await place.commands()}


async def test_simulate_is_repeatable(lost_program: Program) -> None:
    """The same seed makes the same bytes, needs no server, and another seed makes others."""
    files = [lost_program.directory / name for name in "abc"]
    for file, seed in zip(files, "112", strict=True):
        made = await lost_program(
            "simulate", "--runs=3", "--seed", seed, "--to", str(file), "--json"
        )
        assert made.code == 0
        assert made.json() == {"written": len(file.read_bytes().splitlines())}
    first, second, third = (file.read_bytes() for file in files)
    assert first == second != third


async def test_simulate_sends(program: Program, place: Installation, worker: Worker) -> None:
    """Without a file the commands go to Kafka, and are all accepted."""
    assert worker.is_alive
    refused = await place.db.fetchval("select count(*) from refusal")

    told = await program("simulate", "--runs", "3")

    assert told.code == 0
    assert told.json()["sent"] == told.json()["acknowledged"] > 30
    await place.drained()
    assert await place.db.fetchval("select count(*) from refusal") == refused


async def test_no_graphs(lost_program: Program) -> None:
    """A directory without graphs is reported."""
    told = await lost_program("simulate", "--graphs", ".", "--to", "x")
    assert (told.code, told.out) == (1, "")
    assert "holds no *.json file" in told.err


# ---- workers ------------------------------------------------------------------------------------


async def test_workers_are_started_again(program: Program) -> None:
    """`worker` runs a process per role, replaces one that was killed, and ends on SIGTERM."""
    async with program.running("worker") as parent:
        children = await until(lambda: children_of(parent.pid))

        os.kill(min(children), signal.SIGKILL)

        replaced = await until(lambda: children_of(parent.pid, without=min(children)))
        assert len(replaced & children) == len(ROLES) - 1
        parent.send_signal(signal.SIGTERM)
        assert await parent.wait() == 0
    assert not any(map(psutil.pid_exists, replaced))


async def test_workers_do_not_outlive_a_killed_parent(program: Program) -> None:
    """After kill -9 of the parent its workers end by themselves."""
    async with program.running("worker") as parent:
        children = await until(lambda: children_of(parent.pid))
        await until(lambda: _all_watch(children))

        parent.kill()
        await parent.wait()

        await until(lambda: _none_runs(children))


async def children_of(pid: int, without: int | None = None) -> set[int]:
    """The children, once there is one for each role; else none."""
    children = {child.pid for child in psutil.Process(pid).children()} - {without}
    return children if len(children) == len(ROLES) else set()


async def _none_runs(pids: set[int]) -> bool:
    return not any(map(psutil.pid_exists, pids))


async def _all_watch(pids: set[int]) -> bool:
    """A worker has more than one thread once it watches its parent."""
    return all(psutil.Process(pid).num_threads() > 1 for pid in pids)
