"""The fold: each command on each state it may meet, without any server."""

import itertools
import json
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest

from execstream.streams.fold import GapInJournal, evolve, new_run
from execstream.streams.journal import EntryType
from execstream.streams.outcomes import Applied, Duplicate, Refusal, Refused
from execstream.streams.statuses import ENDED, FINAL, ExecutionStatus, allowed_from, is_allowed
from tests.orders import WAY_TO
from tests.rules.folding import Folding, Outcome, facts_of
from tests.whole.understood_records import REFUSED

PAIRS = list(itertools.product(ExecutionStatus, ExecutionStatus))
S = ExecutionStatus


@pytest.fixture
def folding() -> Folding:
    made = Folding()
    made.apply(made.orders.create())
    return made


def types(entries: Outcome) -> list[str]:
    assert isinstance(entries, list), entries
    return [entry.type.value for entry in entries]


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason.value


# ---- moves ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("was", "to"), PAIRS)
def test_moves_of_a_run(folding: Folding, was: S, to: S) -> None:
    """An allowed one changes status, times and stats; any other changes nothing at all."""
    orders = folding.orders
    folding.apply(*map(orders.move, WAY_TO[was]), orders.order("graph.update", stats={"a": 1}))
    before = folding.facts()

    outcome = folding.apply(orders.move(to, stats={"a": 2}))

    if not is_allowed(was, to):
        assert folding.facts() == before
        assert isinstance(outcome, Refused)
        if to is S.INCOMPLETE:
            assert outcome == Refused(Refusal.NOT_A_TARGET, {"wanted": to})
        else:
            detail = {"found": was, "wanted": to, "allowed_from": allowed_from(to)}
            assert outcome == Refused(Refusal.ILLEGAL_TRANSITION, detail)
        return
    (entry,) = folding.journal[-1:]
    assert (entry.was, entry.status, folding.state.status) == (was, to, to)
    assert json.loads(bytes(entry.detail.stats)) == {"a": 2}  # type: ignore[arg-type]
    assert folding.state.ended_at == (entry.at if to in ENDED else None)


@pytest.mark.parametrize(("was", "to"), PAIRS)
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_moves_of_a_step(folding: Folding, was: S, to: S, many: bool) -> None:
    """The move is the same for a step, alone or with others; each destination sets its own time."""
    orders = folding.orders
    folding.apply(orders.give("n"), *[orders.move_step("n", status) for status in WAY_TO[was]])
    before = folding.facts()

    if many:
        outcome = folding.apply(orders.move_steps("n", to))
    else:
        outcome = folding.apply(orders.move_step("n", to))

    if many and to is S.QUEUED:
        assert reason(outcome) == "missing_execution_data"
    elif to is S.INCOMPLETE:
        assert reason(outcome) == "not_a_target"
    elif not is_allowed(was, to):
        assert reason(outcome) == "illegal_transition"
    else:
        assert types(outcome) == ["node.updated"]
        assert _changed_times(before, folding) == _times_set_by(to)
        return
    assert folding.facts() == before


def _changed_times(before: Any, folding: Folding) -> set[str]:
    was, is_now = before["steps"], folding.facts()["steps"]
    (step_id,) = is_now
    names = ("added_time", "queued_time", "started_time", "ended_time")
    return {name for name in names if was[step_id][name] != is_now[step_id][name]}


def _times_set_by(to: S) -> set[str]:
    if to in FINAL:
        return {"ended_time"}
    return {{S.QUEUED: "queued_time", S.RUNNING: "started_time"}.get(to, "")} - {""}


def test_every_start_stamps_an_update_only_the_first(folding: Folding) -> None:
    """`started_at` is the last `graph.start`, or the first move to RUNNING."""
    orders = folding.orders
    folding.apply(orders.move("RUNNING"))
    first = folding.state.started_at
    folding.apply(orders.move("REVIEW"), orders.move("RUNNING"))
    assert folding.state.started_at == first

    folding.apply(orders.move("TERMINATED"))
    assert folding.state.ended_at is not None
    folding.apply(orders.start())

    assert folding.state.started_at == folding.journal[-1].at != first
    assert folding.state.ended_at is None


# ---- the cascade ---------------------------------------------------------------------------


@pytest.mark.parametrize("to", sorted(ENDED))
def test_the_end_of_a_run_fails_its_running_steps(folding: Folding, to: S) -> None:
    """Only those fail, as they were added, after the run's own entry, under its command."""
    orders = folding.orders
    folding.apply(orders.start(), *map(orders.give, "cbad"))
    stats = {"b": {"cost": 1, "error": "mine"}, "a": {}}
    folding.apply(*[orders.move_step(name, "RUNNING", stats=stats.get(name)) for name in "abc"])
    folding.apply(orders.move_step("c", "REVIEW"))

    entries = folding.apply(orders.move(to))

    assert types(entries) == ["graph.updated", "node.updated", "node.updated"]
    assert isinstance(entries, list)
    assert [entry.node_exec_id for entry in entries[1:]] == [orders.named("b"), orders.named("a")]
    assert len({(entry.command_id, entry.at) for entry in entries}) == 1
    assert [entry.seq for entry in entries] == [*range(entries[0].seq, entries[0].seq + 3)]
    error = f"graph_execution_{to.lower()}"
    told = [json.loads(bytes(entry.detail.stats)) for entry in entries[1:]]  # type: ignore[arg-type]
    assert told == [{"cost": 1, "error": error}, {"error": error}]
    statuses = {name: folding.step(name).status for name in "abcd"}
    assert statuses == {"a": S.FAILED, "b": S.FAILED, "c": S.REVIEW, "d": S.INCOMPLETE}
    assert folding.step("a").ended_time == entries[0].at


def test_a_refused_end_fails_nothing(folding: Folding) -> None:
    """Neither does a move that is no end."""
    orders = folding.orders
    folding.apply(orders.give("n"), orders.move_step("n", "RUNNING"))

    assert reason(folding.apply(orders.move("COMPLETED"))) == "illegal_transition"
    folding.apply(orders.start(), orders.move("REVIEW"))

    assert folding.step("n").status is S.RUNNING


def test_a_resumed_run_does_not_wake_its_steps(folding: Folding) -> None:
    """Steps that the cascade failed stay failed; a later end cascades again."""
    orders = folding.orders
    folding.apply(orders.start(), orders.give("a"), orders.move_step("a", "RUNNING"))
    folding.apply(orders.move("TERMINATED"), orders.start())
    assert folding.step("a").status is S.FAILED

    assert types(folding.apply(orders.move("FAILED"))) == ["graph.updated"]


# ---- steps and their inputs ----------------------------------------------------------------


def test_the_oldest_open_step_takes_the_value(folding: Folding) -> None:
    """First created, INCOMPLETE, of that node, without that pin."""
    orders = folding.orders
    for name in ("first", "second", "third"):
        folding.apply(orders.give("n", "a", new_node_exec_id=orders.named(name)))
    folding.apply(orders.move_step("first", "QUEUED"))

    taken = [folding.apply(orders.give("n", "b"))[-1].node_exec_id for _ in range(3)]  # type: ignore[index]

    assert taken == [orders.named("second"), orders.named("third"), orders.named("n")]
    assert folding.step("second").pins == {"a", "b"}
    assert folding.step("n").pins == {"b"}


def test_other_nodes_and_pins_are_no_matter(folding: Folding) -> None:
    """A step of another node never takes the value, and keeps its own block."""
    orders = folding.orders
    folding.apply(orders.give("n", "a", block_id="first"), orders.give("m", "a"))

    folding.apply(orders.give("n", "b", block_id="other"))

    assert folding.step("n").pins == {"a", "b"}
    assert folding.step("n").block_id == "first"


def test_the_search_for_an_open_step_agrees_with_looking_at_all(folding: Folding) -> None:
    """It goes on where the last one ended; that never misses one."""
    orders = folding.orders
    for number in range(300):
        name, pin = f"n{number % 3}", f"p{number % 7 % 4}"
        steps = [s for s in folding.state.steps.values() if s.node_id == name and s.takes(pin)]
        new = orders.named(f"step {number}")
        entries = folding.apply(orders.give(name, pin, new_node_exec_id=new))
        assert isinstance(entries, list)
        assert entries[-1].node_exec_id == (steps[0].id if steps else new)
        if number % 5 == 0:
            victim = [*folding.state.steps][number // 5]
            folding.apply(orders.order("node.update", node_exec_id=victim, status="RUNNING"))


def test_ids_that_are_not_given_are_derived() -> None:
    """The id is derived from the command's id: the same whenever it is replayed."""
    made = Folding()
    orders = made.orders
    node = {"node_id": "n", "block_id": "b", "inputs": {"x": 1, "y": 2}}
    created = made.apply(orders.create(node, orders.node("own"), node))
    opened = made.apply(orders.give("m", new_node_exec_id=None))

    command_id, second = (UUID(orders.named(f"command/{number}")) for number in (1, 2))
    assert [step.id for step in made.state.steps.values()] == [
        str(uuid5(command_id, "starting/0")),
        orders.named("own"),
        str(uuid5(command_id, "starting/2")),
        str(uuid5(second, "node")),
    ]
    assert types(created) == [
        "graph.created",
        *("node.added", "node.input_added", "node.input_added"),
        "node.added",
        *("node.added", "node.input_added", "node.input_added"),
    ]
    assert types(opened) == ["node.added", "node.input_added"]


def test_a_step_id_belongs_to_its_run(folding: Folding) -> None:
    """The same one in another run is another step."""
    other = Folding()
    for made in (folding, other):
        made.apply(
            made.orders.create(), made.orders.give("n", new_node_exec_id=folding.orders.named("n"))
        )

    other.apply(
        other.orders.order("node.update", node_exec_id=folding.orders.named("n"), status="FAILED")
    )

    assert folding.step("n").status is S.INCOMPLETE


def test_outputs_are_taken_in_every_status(folding: Folding) -> None:
    """One pin may emit many values, also after the end."""
    orders = folding.orders
    folding.apply(orders.give("n"))
    for status in ("QUEUED", "RUNNING", "REVIEW", "FAILED"):
        folding.apply(orders.move_step("n", status))
        assert types(folding.apply(orders.emit("n"))) == ["node.output_added"]


def test_many_moves_at_once(folding: Folding) -> None:
    """Allowed moves happen, repeats count once, the others are listed; the stats are for each of
    them.
    """
    orders = folding.orders
    folding.apply(*map(orders.give, "abc"), orders.move_step("c", "FAILED"))
    known = orders.move_steps(["b", "a", "b", "c", "unknown"], "RUNNING", stats={"cost": 1})

    entries = folding.apply(known)

    assert isinstance(entries, list)
    assert [entry.node_exec_id for entry in entries] == [orders.named("b"), orders.named("a")]
    outcome = folding.state.outcomes[entries[0].command_id]
    assert outcome == Applied(
        entries[0].seq,
        entries[1].seq,
        updated=2,
        skipped={orders.named("c"): "FAILED", orders.named("unknown"): None},
    )
    assert folding.apply(known) == Duplicate(outcome)


# ---- refusals, duplicates, deletion --------------------------------------------------------


@pytest.mark.parametrize(
    "name", [name for name, case in REFUSED.items() if case.expected != "superseded"]
)
def test_refusals_have_the_first_reason_that_holds(name: str) -> None:
    """And change nothing."""
    made, case = Folding(), REFUSED[name]
    *before, last = case.make(made.orders)
    if before:
        made.apply(*before)
    facts = made.facts()

    assert reason(made.apply(last)) == case.expected
    assert made.facts() == facts


def test_a_command_has_its_effect_once(folding: Folding) -> None:
    """Sent again it returns the first outcome, with any content; refused ones are judged afresh."""
    orders = folding.orders
    same = {"id": orders.named("same")}
    assert reason(folding.apply(orders.move("COMPLETED", **same))) == "illegal_transition"
    folding.apply(orders.start())
    folding.apply(orders.move("COMPLETED", **same))
    outcome = folding.state.outcomes[orders.named("same")]

    assert folding.apply(orders.give("n", **same)) == Duplicate(outcome)
    assert folding.apply(orders.create(**same)) == Duplicate(outcome)
    assert outcome == Applied(3, 3)


def test_a_hard_deletion_leaves_a_tombstone(folding: Folding) -> None:
    """After a soft one or at once; then nothing is taken, and nothing is known."""
    orders = folding.orders
    folding.apply(orders.give("n"), orders.order("graph.delete"))
    share = orders.order("graph.share", is_shared=True, share_token_hash="a" * 64)
    assert reason(folding.apply(share)) == "deleted"
    last = orders.order("graph.delete", hard=True)

    assert types(folding.apply(last)) == ["graph.deleted"]

    assert (folding.state.steps, folding.state.is_deleted) == ({}, True)
    assert isinstance(folding.apply(last), Duplicate)
    assert reason(folding.apply(orders.order("graph.delete", hard=True))) == "deleted"
    assert reason(folding.apply(orders.create())) == "already_exists"


def test_sharing_and_its_end(folding: Folding) -> None:
    """The hash is kept until then."""
    orders = folding.orders
    folding.apply(orders.order("graph.share", is_shared=True, share_token_hash="a" * 64))
    assert folding.state.share_token_hash == "a" * 64
    assert folding.state.shared_at == folding.journal[-1].at

    folding.apply(orders.order("graph.share", is_shared=False, share_token_hash="b" * 64))

    assert [folding.state.share_token_hash, folding.state.shared_at] == [None, None]
    assert folding.journal[-1].detail.share_token_hash is msgspec.UNSET


def test_the_journal_makes_the_state(folding: Folding) -> None:
    """Its entries alone, evolved one after the other, and without gaps."""
    orders = folding.orders
    folding.apply(
        *map(orders.give, "abca"),
        orders.start(),
        orders.move_steps("abc", "RUNNING"),
        orders.emit("a"),
        orders.move("TERMINATED"),
        orders.start(),
        orders.order("graph.delete"),
    )

    rebuilt = new_run(folding.state.id, folding.journal[0], 3)
    for entry in folding.journal:
        evolve(rebuilt, entry)

    assert facts_of(rebuilt) == folding.facts()
    assert [entry.seq for entry in folding.journal] == [*range(1, len(folding.journal) + 1)]
    assert {entry.type for entry in folding.journal} == set(EntryType) - {EntryType.GRAPH_SHARED}


def test_a_gap_in_the_journal_is_told(folding: Folding) -> None:
    """The run and the entry that has nothing to go on with are named."""
    folding.apply(folding.orders.give("a"))
    created, added, given = folding.journal[:3]
    assert [added.type, given.type] == [EntryType.NODE_ADDED, EntryType.NODE_INPUT_ADDED]
    rebuilt = new_run(folding.state.id, created, 3)

    with pytest.raises(GapInJournal, match=f"{folding.state.id} lacks what its entry 3"):
        evolve(rebuilt, given)
