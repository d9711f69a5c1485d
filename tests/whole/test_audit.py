"""`execstream audit`: acts at a terminal, their bounds, and people who are forgotten."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce
from types import CodeType, FunctionType

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from cyclopts import App

from execstream.cli import acts, app
from execstream.storage.access.audit_log import Act, Author, record_acts
from execstream.storage.access.http_tokens import TokenScope, create_token
from execstream.streams.topics import COMMANDS
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

CHANGING = {
    *("alerts acknowledge", "alerts silence", "archive", "archive restore", "budgets remove"),
    *(
        "budgets set",
        "bulk",
        "dlq redrive",
        "export",
        "export events",
        "export runs",
        "export steps",
        "forget",
        "import",
        "migrate",
    ),
    *("offsets rebase", "offsets skip", "quarantine retry", "quarantine skip", "replay"),
    *("retention apply", "tokens create", "tokens revoke", "topics apply", "verify"),
}
READING = {
    *("alerts list", "archive show", "audit", "budgets list", "check", "config show", "diff"),
    *("dlq list", "dlq show", "doctor", "explain", "list", "listen", "mcp", "offsets show"),
    *("quarantine list", "quarantine show", "retention plan", "rules test", "schema", "show"),
    *("simulate", "stats blocks", "tokens list", "topics check", "topics list", "trace", "watch"),
}
# Processes, not acts; and producers, whose commands are on the topic.
RUNNING = {"demo", "emit", "serve", "up", "worker"}


def all_commands(of: App, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands of the program that do something, by the words that name them."""
    if path and of.default_command is not None:
        yield " ".join(path)
    for name in of:
        if not name.startswith("-"):
            yield from all_commands(of[name], (*path, name))


def records_acts(function: Callable[..., object] | None) -> bool:
    """Whether `function` names one that records acts, or names a function of `cli` that does."""
    left: list[object] = [function]
    seen = set[object]()
    while left:
        one = left.pop()
        if one in (acts.record, acts.record_where_possible):
            return True
        if not isinstance(one, FunctionType) or one in seen:
            continue
        seen.add(one)
        if one.__module__.startswith("execstream.cli."):
            left += [one.__globals__.get(name) for name in _names_in(one.__code__)]
    return False


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def test_each_command_that_changes_something_is_audited() -> None:
    """A new command belongs into one of the three sets; one that changes something records it."""
    commands = set(all_commands(app))
    audited = {
        command
        for command in commands
        if records_acts(reduce(App.__getitem__, command.split(), app).default_command)
    }
    assert commands == CHANGING | READING | RUNNING
    assert audited == CHANGING


async def test_acts_at_a_terminal(place: Installation, program: Program) -> None:
    """The operator, by EXECSTREAM_ACTOR, with the machine; the newest first."""
    named = Program(program.directory, {**program.variables, "EXECSTREAM_ACTOR": "grace"})
    for act in (("create", "one"), ("revoke", "one")):
        assert (await named("tokens", *act)).code == 0
    await program("tokens", "create", "two")

    told = (await program("audit", "--json")).json_lines()
    of_grace = await program("audit", "--actor", "grace", "--limit", "1")

    assert [(one["act"], one["subject"]) for one in told] == [
        ("token.create", "two"),
        ("token.revoke", "one"),
        ("token.create", "one"),
    ]
    assert [one["actor"] == "grace" for one in told] == [False, True, True]
    assert all(one["origin"].startswith("terminal at ") for one in told)
    assert "token.revoke" in of_grace.out
    assert "There are more" in of_grace.err


async def test_texts_are_cut(place: Installation) -> None:
    """However long a header or a subject is."""
    long = "x\0" * 5_000
    await record_acts(place.db, Author(long, None, long), [Act(long, long, long)])
    row = await place.db.fetchrow("select * from audit order by id desc limit 1")
    sizes = [len(row[name]) for name in ("actor", "origin", "act", "subject", "outcome")]
    assert sizes == [128, 200, 64, 300, 200]


async def test_retention_and_forgetting(place: Installation, program: Program) -> None:
    """Old days go; of a forgotten user neither id nor runs nor tokens are left, and acts stay."""
    run = Orders(user_id="olga-audit")
    await place.put([run.create()])
    await place.drained()
    await create_token(place.db, "of-olga", [TokenScope.READ], "x", user_id="olga-audit")
    of_olga = Author("of-olga", "olga-audit", "192.0.2.9")
    await record_acts(place.db, of_olga, [Act("graph.start", run.run_id, "sent")])
    other = Author("grace", None, "192.0.2.1")
    await record_acts(place.db, other, [Act("run.terminate", run.run_id, "applied")])
    old = datetime.now(UTC) - timedelta(days=91)
    await place.db.execute(
        "insert into audit (at, actor, origin, act, subject, outcome) "
        "values ($1, 'old', '', '', '', '')",
        old,
    )

    assert (await program("forget", "--user", "olga-audit", "--yes")).code == 0
    assert (await program("retention", "apply")).code == 0

    rows = [str(dict(row)) for row in await place.db.fetch("select * from audit order by id")]
    for trace in ("olga", run.run_id, "192.0.2.9", "'old'"):
        assert not [row for row in rows if trace in row], trace
    assert sum("graph.start" in row and "forgotten" in row for row in rows) == 1
    assert (
        sum("grace" in row and "192.0.2.1" in row and "run.terminate" in row for row in rows) == 1
    )
    assert sum("'forget'" in row for row in rows) == 1
    assert await place.db.fetchval("select count(*) from token where user_id is not null") == 0


async def test_acts_on_schema_topics_and_archive(place: Installation, program: Program) -> None:
    """Migrations, changed topics, and archives; nothing where nothing was changed."""
    topic = place.topic(COMMANDS.name)
    before = (await program("audit", "--json", "--limit", "9999")).out
    assert (await program("topics", "apply")).code == (await program("migrate")).code == 0
    assert (await program("audit", "--json", "--limit", "9999")).out == before

    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    shorter = {"retention.ms": "86400000"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, shorter)])
    await admin.close()
    assert (await program("topics", "apply")).code == 0
    assert (await program("archive", "--to", "kept")).code == 0

    found = (await program("audit", "--json", "--limit", "2")).json_lines()
    assert [(one["act"], one["subject"]) for one in found] == [
        ("archive.write", "kept"),
        ("topic.apply", topic),
    ]
