"""Texts of strangers at the terminal: ids, keys, names, pins, errors and values that are markup,
escape sequences or worse, through every command of the program."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unicodedata import category

import pytest
from cyclopts import App
from redis.asyncio import Redis
from rich.text import Text as RichText

from execstream.cli import app
from execstream.cli.common import table
from execstream.cli.demo_view import View
from execstream.cli.terminal import Terminal, Text
from execstream.storage.alerts.records import Finding, raise_alert
from execstream.storage.connections import connect
from execstream.storage.redis.channels import execution_channel
from execstream.streams.text import clean_text, escape_controls
from execstream.streams.topics import COMMANDS
from execstream.streams.totals.alert_rules import Kind, Severity
from execstream.workload.demo import Demo
from tests.orders import Order, Orders
from tests.whole.program import Program, Result
from tests.worker import Installation, Worker, until

NAUGHTY = (
    *("[/red]", "[/a]", "[bold]", "[link=x]", "\\[", ":smile:"),
    *("\x1b[31mred\x1b[0m", "\x1b]0;owned\x07\x1b[2J", "\x1b]52;c;ZXZpbA==\x07", "\x9b2J", "\x85"),
    *("a\nrun   COMPLETED", "\r\n\tb", "\x08\x7f", "NUL\x00", "\u202edne\u202c", "\u2066x\u2069"),
    *("\u2028line", "\ufeffbom", "\U000e0041tag", "👨‍👩‍👧 🙂", "שלום عالم", "ﷺ\u0301", "x" * 3_000),
)
HELD = 1_000_000  # offset of the first record in quarantine
KEPT = "\u200c\u200d\n\t"  # of blocks
# How each begins, as it came, or as it is stored after its C0 controls were taken out.
MARKS = [
    {escape_controls(one)[:12] for one in (text.replace("\x00", ""), clean_text(text))}
    for text in NAUGHTY
]
EVIL = "".join(NAUGHTY[:-1]).replace("\x00", "")  # one argument, which holds no U+0000


def acting(text: str) -> set[str]:
    """The characters that would act at a terminal."""
    return {char for char in text if category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - set(KEPT)


# ---- without servers ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", NAUGHTY)
def test_escaped_text(text: str) -> None:
    """Nothing acts, a second call changes nothing, and only a block keeps its lines."""
    shown = escape_controls(text)
    assert not acting(shown) | ({"\n"} & set(shown))
    assert escape_controls(shown) == shown
    assert escape_controls(text, is_block=True).count("\n") == text.count("\n")


def test_escapes_as_they_are_shown() -> None:
    """They are Python's; letters of any script, spaces and emoji stay as they are."""
    assert escape_controls("\x1b[2J\x9b\u202e\n\t\ud800") == r"\x1b[2J\x9b\u202e\n\t\ud800"
    assert escape_controls("a b \xa0\u3000 é ß 👨‍👩‍👧 שלום") == "a b \xa0\u3000 é ß 👨‍👩‍👧 שלום"


@pytest.mark.parametrize("text", NAUGHTY)
def test_every_way_to_a_console(text: str) -> None:
    """Strings, cells, headers, styled texts, and even a `Text` of rich's own print as text."""
    console = Terminal(width=10_000, force_terminal=False)
    rows = table("first", text)
    rows.add_row(text, Text.assemble((text, "red"), text))
    rows.add_row(RichText(text), Text("x").append(text))
    with console.capture() as printed:
        console.print(rows)
        console.print(text, style="red", soft_wrap=True)
        console.print(RichText(text))
    assert not acting(printed.get())
    shown = escape_controls(text)
    assert printed.get().count(shown[:1_000]) >= 5


class _NoDemo(Demo):
    """A demo that is not performed."""

    def __init__(self) -> None:
        self.names = {}


@pytest.mark.parametrize("text", NAUGHTY)
def test_messages_in_the_view_of_the_demo(text: str) -> None:
    """Messages of others are lines of text, also those that are no updates."""
    view = View(_NoDemo())
    update = {"graph_id": text, "graph_exec_id": text, "block_id": "b", "seq": None}
    console = Terminal(width=10_000, force_terminal=False)
    with console.capture() as printed:
        payloads: list[Any] = [
            update | {"status": "FAILED"},
            update | {"status": text},
            {},
            [],
            text,
        ]
        for payload in payloads:
            console.print(view._event(json.dumps({"payload": payload}).encode()))
    assert not acting(printed.get())
    assert printed.get().count("that is no update") == 4


def commands(of: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The commands of the program, by the words that name them."""
    if path and of.default_command is not None:
        yield path
    for name in of:
        if not name.startswith("-"):
            yield from commands(of[name], (*path, name))


# ---- on real servers ---------------------------------------------------------------------------


@dataclass
class World:
    """The objects to print."""

    run: Orders
    letters: list[str] = field(default_factory=list)
    alerts: list[int] = field(default_factory=list)
    tampered: Orders = field(default_factory=Orders)

    @property
    def a_command(self) -> str:
        return self.run.named("command/1")


@pytest.fixture(scope="module")
async def tally(place: Installation) -> AsyncIterator[Worker]:
    """A worker that counts, for as long as the module runs."""
    counting = await place.start_worker("tally")

    async def owns() -> bool:
        return bool(counting.said("owns"))

    await until(owns)
    yield counting
    await counting.stop()


async def hold(place: Installation) -> None:
    """Put a record into quarantine for each of the texts."""
    topic = place.topic(COMMANDS.name)
    for number, text in enumerate(NAUGHTY):
        stored = text.replace("\x00", "")
        detail = json.dumps({"message": stored, "error": stored})
        await place.db.execute(
            """insert into quarantine (topic, partition, "offset", key, value, headers, bytes,
                                       reason, detail, user_id, received_at)
               values ($1, 1, $2, $3, $3, '[]', 1, 'fault', $4, $5, now())""",
            *(topic, HELD + number, text.encode(), detail, stored),
        )


@pytest.fixture(scope="module")
async def world(place: Installation, worker: Worker, tally: Worker) -> AsyncIterator[World]:
    """A block, a step, an error, pins, a dead letter and an alert for each of the texts."""
    assert worker.is_alive
    assert tally.is_alive
    made = World(Orders())
    now: dict[str, Any] = {"at": datetime.now(UTC).isoformat()}
    run, tampered = made.run, made.tampered
    steps = [run.node(f"n{n}", block_id=f"b{n}") for n in range(len(NAUGHTY))]
    pins = {text[:500]: text for text in NAUGHTY}
    secrets = {f"{text[:400]}password": text for text in NAUGHTY}
    orders = [run.create(*steps, inputs=pins | secrets, **now), run.start(**now)]
    for number, text in enumerate(NAUGHTY):
        error = {"stats": {"error": text}}
        orders += [
            run.move_step(f"n{number}", "RUNNING", **now),
            run.emit(f"n{number}", pin=text[:500], data=text, **now),
            run.move_step(f"n{number}", "FAILED", **error, **now),
        ]
    orders += [run.move("FAILED", stats={"error": EVIL}, **now), run.move("RUNNING", **now)]
    orders += [tampered.create(tampered.node("n", block_id="b0"), **now), tampered.start(**now)]
    for text in NAUGHTY:
        await place.db.execute(
            "insert into block values ($1, $2, 'STANDARD')",
            f"b{NAUGHTY.index(text)}",
            text.replace("\x00", ""),
        )
        value = text.encode()
        orders.append(Order(value, value, partition=1, headers=[(text, value)]))
        orders.append(Order(value, b'{"a": ' + json.dumps(text).encode(), partition=1))
    orders.append(Order(b"\xff", b"\xff\x1b", partition=1, headers=[("h", b"\xff\x9b")]))
    await place.put(orders)
    await place.drained()

    async def is_counted() -> bool:
        failed = await place.db.fetchval("select sum(failed) from block_minute")
        return bool(failed == len(NAUGHTY))

    await until(is_counted)
    await place.db.execute(
        "update graph_execution set graph_id = $2 where id = $1", tampered.run_id, EVIL
    )
    made.letters = [
        str(row[0]) for row in await place.db.fetch("select id from dead_letter order by 1")
    ]
    await hold(place)
    db = await connect(place.settings.postgres, place.settings.schema_)
    async with db.acquire() as connection:
        for text in (one.replace("\x00", "") for one in NAUGHTY):
            seen = {"minutes": 1, "failed": 1, "ended": 1}
            figures = {"at_open": seen, "worst": seen, "now": seen}
            found = Finding(text, Kind.FAILING, Severity.CRITICAL, figures, text, text)
            alert = await raise_alert(connection, found, has_webhook=False)
            assert alert is not None
            made.alerts.append(alert.id)
    await db.close()
    yield made
    await place.db.execute(f"drop schema if exists {beside(place)} cascade")


@dataclass(frozen=True)
class Case:
    """The call of a command: words with {places}, the exit codes, whether all texts appear."""

    calls: tuple[str, ...]
    codes: tuple[int, ...] = (0,)
    shows_all: bool = False
    stdin: bytes = b""


# These run until Ctrl-C and print addresses of their own servers; logs have a test of their own.
UNTIL_CTRL_C = {("up",), ("demo",), ("worker",), ("serve",)}
LISTEN = ("listen",)
CASES = {
    ("topics", "list"): Case(("",)),
    ("topics", "apply"): Case(("",)),
    ("topics", "check"): Case(("",)),
    ("migrate",): Case(("",)),
    ("import",): Case(("--from {evil}",), (1,)),
    ("emit",): Case(("-",), (1,), stdin="\n".join(NAUGHTY).encode()),
    ("check",): Case(("- --keys", "-"), (1,), stdin="\n".join(NAUGHTY).encode()),
    ("simulate",): Case(("--graphs {evil} --to x",), (1,)),
    ("list",): Case(("", "--graph {evil}")),
    ("show",): Case(("{run}", "{tampered}"), shows_all=True),
    ("diff",): Case(("{run} 2 97",), shows_all=True),
    ("explain",): Case(("{run}", "{run} {command}"), shows_all=True),
    ("trace",): Case(("{run}", "{run} --to {evil}"), (0, 1)),
    ("replay",): Case(("--into {beside} --source journal", "{evil}"), (0, 1)),
    ("watch",): Case(("--once",)),
    ("stats", "blocks"): Case(("",), shows_all=True),
    ("alerts", "list"): Case(("--limit 100",), shows_all=True),
    ("alerts", "acknowledge"): Case(("{alert} --by {evil}",)),
    ("alerts", "silence"): Case(("{alert}",)),
    ("archive",): Case(("--to kept",)),
    ("archive", "show"): Case(("{evil}",), (1,)),
    ("archive", "restore"): Case(("{evil}",), (1,)),
    ("tokens", "create"): Case(("{evil}",), (1,)),
    ("tokens", "list"): Case(("",)),
    ("tokens", "revoke"): Case(("{evil}",), (1,)),
    ("audit",): Case(("--limit 100", "--act {evil}")),
    ("bulk",): Case(("terminate --user {evil}",)),
    ("mcp",): Case(("--url {evil}",), (0, 1)),
    ("budgets", "set"): Case(("{evil} --per run --cost 5",), (1,)),
    ("budgets", "list"): Case(("",)),
    ("budgets", "remove"): Case(("{evil}",), (1,)),
    ("dlq", "list"): Case(("--limit 100",), shows_all=True),
    ("dlq", "show"): Case(("{letter}", "{other_letter}", "{last_letter}", "{evil}"), (0, 1)),
    ("dlq", "redrive"): Case(
        ("--reason not_json --dry-run", "{letter} --set {evil}", "{letter}"), (0, 1)
    ),
    ("export",): Case(("--run {run} --out x.zst --dry-run",), shows_all=True),
    ("export", "events"): Case(("--to tables",)),
    ("export", "runs"): Case(("--to tables",)),
    ("export", "steps"): Case(("--to tables",)),
    ("rules", "test"): Case(("--against {topic}", "--against {evil}"), (0, 1)),
    ("verify",): Case(("{tampered}", "{evil}"), (1,)),
    ("offsets", "show"): Case(("",), (0, 1)),
    ("offsets", "rebase"): Case(("commands",), (0, 1)),
    ("offsets", "skip"): Case(("commands",), (0, 1)),
    ("retention", "plan"): Case(("",)),
    ("retention", "apply"): Case(("",)),
    ("forget",): Case(("--user {evil} --dry-run", "--user {evil}"), (0, 1)),
    ("config", "show"): Case(("",)),
    ("schema",): Case(("",)),
    ("doctor",): Case(("",), (0, 1)),
    ("quarantine", "list"): Case(("--limit 100",), shows_all=True),
    ("quarantine", "show"): Case(
        (*(f"1/{HELD + number}" for number in range(len(NAUGHTY))), "{evil}"),
        (0, 1),
        shows_all=True,
    ),
    ("quarantine", "retry"): Case(("{evil}",), (1,)),
    ("quarantine", "skip"): Case(("{evil}",), (1,)),
}


def test_every_command_has_a_case() -> None:
    """A new command has a case here, or is one that runs until Ctrl-C."""
    assert set(commands(app)) == {*CASES, *UNTIL_CTRL_C, LISTEN}


def check(told: Result, codes: tuple[int, ...]) -> None:
    """It ended as it should, without a traceback, and printed nothing that acts."""
    assert told.code in codes, told.err
    assert "Traceback" not in told.out + told.err
    assert not acting(told.out + told.err)


def beside(place: Installation) -> str:
    """The schema that is rebuilt; others run this module on the same servers."""
    return f"{place.settings.schema_}_beside"


def filled(call: str, world: World, place: Installation) -> list[str]:
    places = {
        "evil": EVIL,
        "beside": beside(place),
        "run": world.run.run_id,
        "command": world.a_command,
        "tampered": world.tampered.run_id,
        "alert": str(world.alerts[0]),
        "letter": world.letters[0],
        "other_letter": world.letters[1],
        "last_letter": world.letters[-1],
        "topic": place.topic(COMMANDS.name),
    }
    return [word.format(**places) for word in call.split()]


@pytest.mark.slow
@pytest.mark.parametrize("command", CASES, ids=" ".join)
async def test_what_a_command_prints(
    program: Program, place: Installation, world: World, command: tuple[str, ...]
) -> None:
    """Piped, it is text without a single control character, with the texts among it."""
    case = CASES[command]
    variables = {"EXECSTREAM_KAFKA_SASL_USERNAME": EVIL, "COLUMNS": "240"}
    hostile = Program(program.directory, {**program.variables, **variables})
    printed = ""
    for call in case.calls:
        told = await hostile(*command, *filled(call, world, place), stdin=case.stdin)
        check(told, case.codes)
        printed += told.out
    assert not case.shows_all or all(any(one in printed for one in of) for of in MARKS)


@pytest.mark.parametrize("words", [[EVIL], ["list", f"--{EVIL}"], ["list", "--limit", EVIL]])
def test_wrong_command_lines(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The unreadable part is repeated as text."""
    with pytest.raises(SystemExit) as ended:
        app(words)
    told = capsys.readouterr()
    check(Result(int(str(ended.value)), told.out, told.err), (2,))
    assert "[/red]" in told.err.replace("\n", "")


async def test_what_listen_prints(program: Program, place: Installation) -> None:
    """Updates with any text in any field, and messages that are none."""
    prefix = place.settings.redis_prefix
    update = {"event_type": "graph_execution_update", "seq": 1, "status": "RUNNING", "outputs": {}}
    payloads = [
        # Those that are none come first: the last line printed shows that all were read.
        *(update | {"event_type": text, "node_exec_id": text} for text in NAUGHTY),
        *(update | dict.fromkeys(("id", "user_id", "graph_id"), text) for text in NAUGHTY),
    ]
    async with (
        Redis.from_url(place.settings.redis) as redis,
        program.running("listen") as listening,
    ):
        assert listening.stderr
        assert listening.stdout
        await listening.stderr.readline()
        for payload in payloads:
            message = json.dumps({"payload": payload})
            await redis.publish(execution_channel(prefix, "u", "g", "r"), message)
        lines = [await listening.stdout.readline() for _ in NAUGHTY]
        listening.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(listening.communicate(), 30)
    printed = b"".join([*lines, out]).decode()
    check(Result(listening.returncode or 0, printed, err.decode()), (130,))
    assert len(lines) == len(printed.splitlines()) == len(NAUGHTY)
    assert err.decode().count("Not understood") == len(NAUGHTY)
