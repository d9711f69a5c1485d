"""`explain`: the story of a run and of commands of every outcome."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from execstream import connect
from execstream.recovery.explain.command_story import command_story, find_command
from execstream.recovery.explain.record import Sent, find_record
from execstream.storage.story import sentences
from execstream.storage.story.evidence import Step, gather
from execstream.storage.story.run_story import Line, run_story, summary
from execstream.storage.story.sentences import asked, rule
from execstream.streams.commands import COMMAND_TYPES, Command, RunCommand
from execstream.streams.decoding import decode
from execstream.streams.journal import EntryType
from execstream.streams.outcomes import Refusal
from execstream.streams.topics import COMMANDS
from tests.orders import Orders
from tests.recovery.told import Told
from tests.whole.program import Program
from tests.worker import Installation, Worker

Story = dict[str, list[str]]


@dataclass(frozen=True)
class Teller:
    """Explains the records of an installation."""

    place: Installation
    db: asyncpg.Pool

    @property
    def topic(self) -> str:
        return self.place.topic(COMMANDS.name)

    async def run(self, run_id: str) -> tuple[list[Line], str]:
        """Its lines and its summary."""
        evidence = await gather(self.db, self.topic, run_id)
        return run_story(evidence), summary(evidence)

    async def command(self, run_id: str, command_id: str) -> tuple[Story, Sent]:
        """The paragraphs of a command by subject, and its record."""
        evidence = await gather(self.db, self.topic, run_id)
        known = await find_command(self.db, evidence, command_id)
        assert known is not None
        bootstrap = self.place.settings.kafka
        sent = await find_record(bootstrap, self.topic, known.place, command_id)
        story: Story = {}
        for about, text in command_story(evidence, known, sent):
            story.setdefault(about, []).append(text)
        return story, sent


@pytest.fixture(scope="module")
async def teller(place: Installation, worker: Worker) -> AsyncIterator[Teller]:
    db = await connect(place.settings.postgres, place.settings.schema_)
    yield Teller(place, db)
    await db.close()


async def test_a_run(teller: Teller, told: Told) -> None:
    """A line for each command, in order, with names of blocks; refused and dead among them."""
    lines, end = await teller.run(told.orders.run_id)
    a, b = told.orders.named("a"), told.orders.named("b")
    fetch, block = f"Fetch (node a, {a})", f"block (node b, {b})"
    assert [line.text for line in lines][:7] == [
        f"The run was created by ada-told; it begins with {fetch}.",
        "The run went from INCOMPLETE to RUNNING.",
        f"{fetch} went from QUEUED to RUNNING.",
        f"{fetch} emitted “page” 2 times.",
        f"{block} was added as INCOMPLETE and given “text”.",
        f"{block} went from INCOMPLETE to RUNNING.",
        f"{fetch} went from RUNNING to FAILED: no answer.",
    ]
    refused, foreign, dead, last = lines[7:]
    assert refused.text == (
        "node.update of ada-told was refused, illegal_transition. It was FAILED, and to become "
        "RUNNING it must be INCOMPLETE, QUEUED, TERMINATED or REVIEW. Nothing leads out of FAILED."
    )
    assert foreign.text.startswith("graph.start of bob was refused, wrong_owner.")
    assert dead.text.startswith("A record became dead letter ")
    assert last.text == (
        f"The run went from RUNNING to COMPLETED; with it {block} went from RUNNING to FAILED."
    )
    outcomes = [line.outcome for line in lines]
    assert outcomes == [*["applied"] * 7, *["refused"] * 2, "dead", "applied"]
    assert "is COMPLETED, 10.0 s after its start. It has 2 steps: 2 FAILED." in end
    assert end.endswith("2 commands refused. 1 record could not be taken in.")


async def test_a_step_with_a_child_run(teller: Teller, place: Installation) -> None:
    """The run that it started is named where its stats name one, and as the cause of a failure."""
    orders, child = Orders(run_id=str(uuid4())), str(uuid4())
    stats = {"error": "its run failed", "child_graph_exec_id": child}
    await place.put([orders.create(*map(orders.node, "abc")), orders.start()])
    await place.put([orders.move_steps(["a", "b", "c"], "RUNNING")])
    await place.put([orders.move_step("a", "FAILED", stats=stats)])
    await place.put([orders.move_step("b", "FAILED", stats=stats | {"child_graph_exec_id": "x"})])
    await place.put([orders.move_step("c", "COMPLETED", stats={"child_graph_exec_id": child})])
    await place.drained()

    lines, _ = await teller.run(orders.run_id)

    failed, other, completed = (line.text.split(") ", 1)[1] for line in lines[-3:])
    assert failed == (
        f"went from RUNNING to FAILED because of its child run {child}: its run failed."
    )
    assert other == "went from RUNNING to FAILED: its run failed."
    assert completed == f"went from RUNNING to COMPLETED, by run {child}."


async def test_an_applied_command(teller: Teller, told: Told) -> None:
    """The explanation has the request, the state found and the effect; the reply; and the very
    record.
    """
    story, sent = await teller.command(told.orders.run_id, told.id_of("start"))
    assert story["asked"][0].startswith("ada-told asked to start the run: graph.start at 2026-03-0")
    assert story["found"] == ["The run was INCOMPLETE, at entry 2."]
    [rules] = story["rule"]
    assert rules.startswith("From INCOMPLETE it may become QUEUED, RUNNING, FAILED or TERMINATED;")
    assert story["outcome"] == ["Applied as entry 3: the run went from INCOMPLETE to RUNNING."]
    assert "went from QUEUED to RUNNING" in story["followed"][0]
    [reply] = story["reply"]
    assert reply == (
        "It asked for the outcome on the channel execution_reply/somebody: outcome applied, "
        "seq [3, 3]."
    )
    assert (sent.value, sent.again) == (told.commands["start"].value, [])


async def test_what_ends_a_run(teller: Teller, told: Told) -> None:
    """The cascade is explained, and that the command came twice."""
    story, sent = await teller.command(told.orders.run_id, told.id_of("end"))
    assert story["followed"] == [
        "The end of the run failed 1 step that still ran. Nothing has happened to the run since."
    ]
    [(partition, offset)] = sent.again
    assert story["again"][0].startswith(f"It was sent again 1 time, at {partition}:{offset}.")
    assert "a duplicate without a second effect" in story["again"][0]


async def test_a_refused_command(teller: Teller, told: Told) -> None:
    """The step as it was found, and the moves there would have been."""
    story, _ = await teller.command(told.orders.run_id, told.id_of("run a again"))
    assert story["found"][0].endswith(f"Fetch (node a, {told.orders.named('a')}) was FAILED.")
    assert "Nothing leads out of FAILED." in story["rule"][0]
    assert story["outcome"] == ["Refused, illegal_transition: nothing changed."]


async def test_refused_first_and_applied_later(teller: Teller) -> None:
    """Both are explained: a refused command sent again is judged afresh."""
    orders = Orders()
    end = orders.move("COMPLETED")
    await teller.place.put([orders.create(), end, orders.start(), end])
    await teller.place.drained()
    story, sent = await teller.command(orders.run_id, orders.named("command/1"))
    assert [one.split()[0] for one in story["outcome"]] == ["Refused,", "Applied"]
    assert len(sent.again) == 1


async def test_a_move_of_many(teller: Teller) -> None:
    """Its reply has the number of moved steps and the skipped ones."""
    orders = Orders()
    both = orders.move_steps(["a", "b"], "COMPLETED", reply_to="somebody")
    create = orders.create(orders.node("a"), orders.node("b"))
    await teller.place.put([create, orders.move_step("a", "RUNNING"), both])
    await teller.place.drained()
    story, _ = await teller.command(orders.run_id, orders.named("command/1"))
    assert story["asked"][0].startswith("ada asked to move 2 steps to COMPLETED")
    skipped = {"skipped": {orders.named("b"): "QUEUED"}}
    assert story["reply"][0].endswith(f"updated 1, detail {skipped}.")


async def test_a_dead_letter(teller: Teller, told: Told) -> None:
    """Why it is one, and where its bytes are."""
    story, _ = await teller.command(told.orders.run_id, told.id_of("dead"))
    assert story["asked"][0].startswith("A record came that was no command")
    assert "invalid_field" in story["outcome"][0]
    assert "It is kept as dead letter " in story["outcome"][0]
    [asked] = story["reply"]
    assert asked.startswith(
        "It asked for the outcome on the channel execution_reply/mourner: outcome dead, reason inv"
    )


async def test_what_the_topic_no_longer_keeps(teller: Teller) -> None:
    """The missing record is reported; the rest is explained."""
    orders = Orders(user_id="ada-gone")
    await teller.place.put([orders.create(), orders.start()])
    await teller.place.drained()
    moved = "update journal set source_offset = source_offset + 1000000 where graph_exec_id = $1"
    await teller.place.db.execute(moved, orders.run_id)
    story, sent = await teller.command(orders.run_id, orders.named("command/2"))
    assert story["asked"][0].startswith("ada-gone sent a command, record ")
    assert story["asked"][0].endswith("the record itself is no longer kept.")
    assert story["outcome"] == ["Applied as entry 2: the run went from INCOMPLETE to RUNNING."]
    assert sent.value is None


async def test_a_run_that_never_was(teller: Teller) -> None:
    """The commands sent to it are listed."""
    orders = Orders()
    await teller.place.put([orders.start()])
    await teller.place.drained()
    lines, end = await teller.run(orders.run_id)
    assert end == f"There never was a run {orders.run_id}."
    assert "graph.create must come first" in lines[0].text
    story, _ = await teller.command(orders.run_id, orders.named("command/1"))
    assert story["found"] == ["There was no such run yet."]


async def test_a_run_that_was_erased(teller: Teller) -> None:
    """The closing entry is all that is left."""
    orders = Orders(user_id="ada-erased")
    await teller.place.put([orders.create(), orders.order("graph.delete", hard=True)])
    await teller.place.drained()
    lines, end = await teller.run(orders.run_id)
    assert [line.text for line in lines] == ["The run was erased for good."]
    assert "was deleted" in end


@pytest.mark.usefixtures("worker")
async def test_the_program(place: Installation, told: Told, tmp_path: Path) -> None:
    """It prints both kinds of explanations, and an error where there is none."""
    program = Program(tmp_path, place.settings.environment())
    run_id = told.orders.run_id
    run = await program("explain", run_id)
    assert (run.code, "emitted “page” 2 times" in run.out) == (0, True)
    assert "+11.0 s" in run.out
    lines = (await program("explain", run_id, "--json")).json()["lines"]
    assert (lines[0]["seq"], lines[0]["outcome"]) == ([1, 2], "applied")
    command = await program("explain", run_id, told.id_of("start"))
    assert (command.code, '"type": "graph.start"' in command.out) == (0, True)
    found = (await program("explain", run_id, told.id_of("start"), "--json")).json()
    assert found["record"] == (told.commands["start"].value or b"").decode()
    nothing = await program("explain", run_id, told.orders.named("nothing"))
    assert (nothing.code, "Nothing is recorded of command" in nothing.err) == (1, True)
    nobody = await program("explain", Orders().run_id)
    assert (nobody.code, "Nothing was ever recorded" in nobody.err) == (1, True)


# ---- sentences ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", Refusal)
def test_every_reason_has_a_sentence(reason: Refusal) -> None:
    """The sentence has the status found, where there was one."""
    detail = {"found": "QUEUED", "wanted": "COMPLETED", "allowed_from": ["RUNNING"]}
    text = rule(reason, detail)
    assert text.endswith(".")
    assert "{" not in text
    if reason in (Refusal.ILLEGAL_TRANSITION, Refusal.NOT_OPEN_FOR_INPUT):
        assert "was QUEUED" in text


def test_every_command_has_a_sentence() -> None:
    """A command of each type is described by its fields."""
    orders = Orders()
    steps = {orders.named("a"): Step("a", "Fetch")}
    fetch = f"Fetch (node a, {orders.named('a')})"
    wanted = {
        orders.create(
            graph_id="g"
        ): "to create the run, of graph g version 1, with 0 starting steps",
        orders.start(): "to start the run",
        orders.move("FAILED"): "to move the run to FAILED",
        orders.order("graph.update", stats={}): "to replace the run's stats",
        orders.order("graph.share", is_shared=False): "to share the run no longer",
        orders.order("graph.delete"): "to delete the run",
        orders.order("graph.delete", hard=True): "to erase the run for good",
        orders.give("n", "in"): "to give node n the input “in”",
        orders.give("a", "in", node_exec_id=orders.named("a")): f"to give {fetch} the input “in”",
        orders.emit("a", "out"): f"to record that {fetch} emitted “out”",
        orders.move_step("a", "QUEUED"): f"to move {fetch} to QUEUED",
        orders.move_steps(["a", "b"], "RUNNING"): "to move 2 steps to RUNNING",
    }
    for order, text in wanted.items():
        command = decode(order.key, order.value)
        assert isinstance(command, Command)
        assert asked(command, steps) == text


def test_nothing_that_happens_lacks_a_sentence() -> None:
    """Each type of entry and of command about a run has one."""
    assert sentences._HAPPENED.keys() == {*EntryType}
    about_runs = {command for command in COMMAND_TYPES.values() if issubclass(command, RunCommand)}
    assert sentences._ASKED.keys() == about_runs
