"""Bundles of an incident: taken out of an installation, looked at without it; and `rules test`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import cramjam
import pytest

from execstream.devstack import Addresses
from execstream.recovery.verify.repair import held
from execstream.streams.topics import COMMANDS
from tests.header_names import put_with_unreadable_headers
from tests.orders import Orders
from tests.recovery.lived import drop, simulated
from tests.whole.program import Program
from tests.worker import Installation, installation

SECRET = "hunter2"  # noqa: S105 - of the tests only
RULES = """
from execstream.streams.statuses import ALLOWED_FROM as NOW, ExecutionStatus as S
ALLOWED_FROM = {**NOW, S.COMPLETED: {S.RUNNING, S.REVIEW}}
"""


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Topics and tables of this module's own, with a worker."""
    async with installation(stack, tmp_path_factory.mktemp("logs")) as own, own.worker():
        yield own


@pytest.fixture(scope="module")
async def run(place: Installation) -> Orders:
    """A run with steps, values, a secret, a duplicate and a refusal; and one beside it."""
    orders, other = Orders(), Orders()
    start = orders.start()
    await place.db.execute("insert into block values ('block', 'Block', 'OUTPUT')")
    await place.put(
        [
            orders.create(orders.node("a", inputs={"value": 1.5}), inputs={"password": SECRET}),
            other.create(),
            *(start, start, orders.move_step("a", "RUNNING"), orders.give("b", "api_key", SECRET)),
            *(
                orders.emit("a", data={"n": 2}),
                orders.emit("a", data=None),
                orders.move("REVIEW", stats={"cost": 7}),
            ),
            *(orders.move("COMPLETED"), other.start(), orders.move("FAILED")),
        ]
    )
    await place.drained()
    return orders


async def shown(program: Program, run_id: str) -> str:
    found = await program("show", run_id, "--json")
    assert found.code == 0, found.err
    return found.out


@pytest.mark.slow
async def test_a_run_is_looked_at_elsewhere(
    program: Program, place: Installation, run: Orders, tmp_path: Path
) -> None:
    """A dry run writes nothing and prints the values to be redacted; the bundle has no secret;
    where there is neither a topic nor the schema it came from, the run shows as it does here,
    except for redacted values, and a schema in use is refused.
    """
    file = tmp_path / "incident.zst"
    asked = ("export", "--run", run.run_id, "--out", str(file), "--json")
    dry = await program(*asked, "--dry-run")
    assert dry.json()["redacted"] == {"inputs.password": 2, "api_key": 2}, dry.err
    assert not file.exists()

    told = (await program(*asked)).json()
    # The duplicate is among the commands; of the other run there is nothing.
    assert (told["runs"], told["commands"], told["refusals"]) == (1, 10, 1)
    assert told["entries"] == await place.db.fetchval(
        "select count(*) from journal where graph_exec_id = $1", run.run_id
    )

    schema = f"{place.settings.schema_}_bundle"
    alone = {
        name: value
        for name, value in program.variables.items()
        if "KAFKA" not in name and "REDIS" not in name
    }
    laptop = Program(tmp_path, alone)
    made = await laptop("replay", str(file), "--into", schema, "--json")
    assert made.code == 0, made.err
    assert made.json() == {"schema": schema, "runs": 1}
    elsewhere = Program(tmp_path, alone | {"EXECSTREAM_SCHEMA": schema})
    there = await shown(elsewhere, run.run_id)
    assert there == (await shown(program, run.run_id)).replace(SECRET, "[redacted]")
    stories = [await one("explain", run.run_id) for one in (elsewhere, program)]
    assert stories[0].code == 0, stories[0].err
    assert stories[0].out == stories[1].out.replace(SECRET, "[redacted]")
    names = await place.db.fetch(f"select name from {schema}.block")
    assert [row["name"] for row in names] == ["Block"]
    refused = await place.db.fetchval(f"select reason from {schema}.refusal")
    assert refused == "illegal_transition"
    again = await laptop("replay", str(file), "--into", schema)
    assert (again.code, "has runs already" in again.err) == (1, True)
    await drop(place.db, schema)


async def test_without_redaction(program: Program, run: Orders, tmp_path: Path) -> None:
    """`--plain` keeps everything except the named keys."""
    file = tmp_path / "plain.zst"
    asked = ("export", "--run", run.run_id, "--out", str(file), "--plain", "--json")
    assert (await program(*asked)).json()["redacted"] == {}
    told = (await program(*asked, "--redact", "PASS*")).json()
    assert told["redacted"] == {"inputs.password": 2}


async def test_what_cannot_be_exported_or_replayed(
    program: Program, place: Installation, tmp_path: Path
) -> None:
    """An unknown run, an erased one, a file that is no bundle: a sentence each."""
    gone, file = Orders(), tmp_path / "no.zst"
    await place.put([gone.create(), gone.order("graph.delete", hard=True)])
    await place.drained()
    for run_id, complaint in ((Orders().run_id, "There is no run"), (gone.run_id, "was erased")):
        told = await program("export", "--run", run_id, "--out", str(file))
        assert (told.code, complaint in told.err) == (1, True)
    file.write_bytes(b"hello")
    told = await program("replay", str(file))
    assert (told.code, "is no bundle" in told.err) == (1, True)


async def test_changed_rules(
    program: Program, place: Installation, run: Orders, tmp_path: Path
) -> None:
    """On the topic, on a file of commands and on a bundle, the same run would have ended
    differently, and the exit code is 1; under the rules in force none would.
    """
    rules, lines, file = tmp_path / "changed.py", tmp_path / "commands.jsonl", tmp_path / "b.zst"
    rules.write_text(RULES)
    records = [one for one in await place.commands() if one.key == run.run_id.encode()]
    lines.write_bytes(b"\n".join(one.value for one in records))
    assert (await program("export", "--run", run.run_id, "--out", str(file))).code == 0
    for against in (place.topic(COMMANDS.name), str(lines), str(file)):
        told = await program("rules", "test", "--against", against, "--rules", rules.name, "--json")
        assert (told.code, told.err) == (1, "")
        [difference] = told.json_lines()
        assert difference["graph_exec_id"] == run.run_id
        assert difference["was"]["status"] == "FAILED"
        assert difference["would_be"]["status"] == "COMPLETED"
        assert difference["first"]["was"] == "refused illegal_transition"
        assert difference["commands"] == 2
    rules.write_text(RULES.replace("{S.RUNNING, S.REVIEW}", "{S.RUNNING}"))
    same = await program("rules", "test", "--against", lines.name, "--rules", rules.name)
    assert (same.code, "0 would have ended differently" in same.out) == (0, True)


async def test_the_rules_of_this_version(
    program: Program, place: Installation, run: Orders
) -> None:
    """Without a file they are compared with the stored runs: equal, until a row is changed."""
    asked = ("rules", "test", "--against", place.topic(COMMANDS.name), "--json")
    same = await program(*asked)
    assert (same.code, same.out) == (0, ""), same.err
    change = "update node_execution set status = $2 where id = $1"
    await place.db.execute(change, run.named("a"), "QUEUED")
    told = await program(*asked)
    await place.db.execute(change, run.named("a"), "FAILED")
    [difference] = told.json_lines()
    assert (told.code, difference["first"]) == (1, None)
    assert difference["was"]["steps"] == {"INCOMPLETE": 1, "QUEUED": 1}
    assert difference["would_be"]["steps"] == {"INCOMPLETE": 1, "FAILED": 1}


async def test_beside_a_load(program: Program, place: Installation, run: Orders) -> None:
    """Commands that no worker has reached, and runs with dropped steps, are left out; there is no
    false alarm while workers go on.
    """
    assert run.sent
    asked = ("rules", "test", "--against", place.topic(COMMANDS.name))
    async with held(place.settings.postgres, place.settings.schema_, "apply"):
        await place.put(simulated(1_000, seed=4))
        told = await program(*asked)
        assert (told.code, told.err) == (0, ""), told.out
    load = asyncio.create_task(place.put(simulated(3_000, seed=5)))
    told = await program(*asked)
    assert (told.code, told.err) == (0, ""), told.out
    await load
    await place.drained()
    trimmed = await place.db.fetchval(
        "select id from graph_execution where status = 'COMPLETED' and not is_deleted limit 1"
    )
    await place.db.execute("delete from node_execution where graph_exec_id = $1", trimmed)
    await place.db.execute("update graph_execution set trimmed_at = now() where id = $1", trimmed)
    assert (await program(*asked)).code == 0


async def test_nothing_to_try_rules_on(program: Program, tmp_path: Path) -> None:
    """A file that is not there, and one without a command: a sentence each, and exit code 1."""
    missing = await program("rules", "test", "--against", "incident.zts")
    assert (missing.code, missing.err.startswith("There is no file incident.zts.")) == (1, True)
    (tmp_path / "empty.jsonl").write_text("no command\n")
    (tmp_path / "rules.py").write_text(RULES)
    empty = await program("rules", "test", "--against", "empty.jsonl", "--rules", "rules.py")
    assert (empty.code, empty.out) == (1, "")
    assert empty.err == "There is no command about a run in empty.jsonl.\n"


async def test_secrets_by_name_by_pair_and_by_shape(
    program: Program, place: Installation, tmp_path: Path
) -> None:
    """None is in the bundle, in its commands or in its journal, and each place is listed; a record
    that no client can read by itself ends no export."""
    orders, file = Orders(), tmp_path / "secrets.zst"
    inputs = {"privateKey": "SECRET-1", "a": {"name": "api_key", "value": "SECRET-2"}}
    headers = [["Authorization", "SECRET-3"], ["Accept", "text/plain"]]
    failed = {"error": "no answer of https://me:SECRET-4@h/x with Bearer SECRET-5", "cost": 7}
    await place.put(
        [
            orders.create(orders.node("a", inputs={"value": "SECRET-6"}), inputs=inputs),
            orders.start(),
            orders.give("a", "name", "password"),
            orders.emit("a", "result", {"echo": "SECRET-6", "headers": headers}),
            orders.move_step("a", "RUNNING"),
            orders.move_step("a", "FAILED", stats=failed),
            orders.raw(b'{"\xff": "SECRET-7"}'),
        ]
    )
    await put_with_unreadable_headers(place, [orders.move("FAILED")])
    await place.drained()

    told = await program("export", "--run", orders.run_id, "--out", str(file), "--json")

    assert told.code == 0, told.err
    bundle = bytes(cramjam.zstd.decompress(file.read_bytes())).decode()
    assert "SECRET" not in bundle
    assert bundle.count("text/plain") == 2
    assert bundle.count('"cost":7') == 2
    assert told.json()["redacted"] == {
        "inputs.privateKey": 2,
        "inputs.a.value": 2,
        "starting_nodes[].inputs.value": 1,
        "value": 1,
        "result.echo": 2,
        "result.headers[][]": 2,
        "stats.error": 2,
    }
