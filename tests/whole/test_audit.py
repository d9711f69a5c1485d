"""`execstream audit`: acts at a terminal, their bounds, and people who are forgotten."""

from datetime import UTC, datetime, timedelta

import pytest

from execstream.storage.access.audit_log import Act, Author, record_acts
from execstream.storage.access.http_tokens import TokenScope, create_token
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")


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
