"""Additions of events to the totals: each rule of the contract, and independence of batches."""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from execstream.streams.append_time import MOST_AHEAD
from execstream.streams.commands import RunCommand
from execstream.streams.events import NOWHERE, Source, encode_event
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.totals.aggregation import (
    BlockMinute,
    Fact,
    Tally,
    Totals,
    amount,
    decode_fact,
    minute_of,
    time_of,
)
from execstream.streams.totals.definitions import Definitions, Since, definition
from execstream.streams.totals.error_classes import ErrorClass
from execstream.streams.totals.histogram import bucket_of
from execstream.workload.reference import Reference, block_figures
from tests.agents.commands import events_of, lives

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = minute_of(NOON)
DAY = MINUTE // 1_440
S = ExecutionStatus


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def moved(status: str, **fields: object) -> Fact:
    """A step that was added at noon, ran from 12:01:00 and got to `status` at 12:02:01.5."""
    about: dict[str, object] = {
        "type": "node.updated",
        "at": after(121.5),
        "source": (3, 17, 0),
        "graph_exec_id": "run",
        "graph_id": "graph",
        "user_id": "ada",
        "node_exec_id": "step",
        "node_id": "node",
        "block_id": "block",
        "added_time": NOON,
        "started_time": after(60),
        "ended_time": after(121.5) if status in {S.COMPLETED, S.FAILED} else None,
        "status": status,
    }
    return Fact(**(about | fields))  # type: ignore[arg-type]


def tally_of(*facts: Fact) -> Tally:
    tally = Tally()
    for fact in facts:
        tally.count(fact)
    return tally


def test_an_added_step_counts_in_the_minute_it_was_added() -> None:
    tally = tally_of(moved("QUEUED", type="node.added", at=NOON, ended_time=None))

    assert tally.blocks == {(3, "block", MINUTE): BlockMinute(Totals(added=1))}
    assert tally.nodes == {(3, "graph", "node", DAY): Totals(added=1)}
    assert (tally.graphs, tally.users, tally.errors) == ({}, {}, {})


def test_a_completed_step_counts_in_the_minute_it_ended() -> None:
    """With its duration, cost and tokens."""
    stats = Raw(b'{"cost":12,"input_token_count":100,"output_token_count":5,"error":null}')
    tally = tally_of(moved("COMPLETED", stats=stats))

    totals = Totals(ended=1, duration_ms=61_500, cost=12, tokens=105)
    histogram = {bucket_of(61_500_000): 1}
    assert tally.blocks == {(3, "block", MINUTE + 2): BlockMinute(totals, histogram)}
    assert tally.nodes == {(3, "graph", "node", DAY): totals}
    [((partition, user, day), paid)] = tally.users.items()
    assert (partition, user, day) == (3, "ada", DAY)
    assert (paid.ended, paid.failed, paid.cost, paid.tokens) == (1, 0, 12, 105)


def test_a_failed_step_counts_twice_over() -> None:
    """It counts as `failed` in the minute it ended, and as `added_failed` in the minute it was
    added.
    """
    tally = tally_of(moved("FAILED", stats=Raw(b'{"error":"HTTP 429 for run 17"}')))

    assert tally.blocks[3, "block", MINUTE].totals == Totals(added_failed=1)
    ended = tally.blocks[3, "block", MINUTE + 2]
    assert ended.totals == Totals(ended=1, failed=1, duration_ms=61_500)
    assert ended.error_classes == {ErrorClass.QUOTA: 1}
    [((_, block, hour, fingerprint), error)] = tally.errors.items()
    assert (block, hour, fingerprint) == ("block", (MINUTE + 2) // 60, error.fault.fingerprint)
    assert error.fault.masked == "HTTP <n> for run <n>"
    assert (error.failures, error.graph_exec_id, error.node_exec_id) == (1, "run", "step")


@pytest.mark.parametrize("end", ["completed", "failed", "terminated"])
def test_a_step_that_its_runs_end_ended_is_cascaded(end: str) -> None:
    """It is in no rate, duration or error, and paid for; the original's figures have it."""
    stats = Raw(f'{{"error":"graph_execution_{end}","cost":7}}'.encode())
    tally = tally_of(moved("FAILED", stats=stats))

    assert tally.blocks == {
        (3, "block", MINUTE): BlockMinute(Totals(added_failed=1)),
        (3, "block", MINUTE + 2): BlockMinute(Totals(cascaded=1, cost=7)),
    }
    assert tally.nodes == {(3, "graph", "node", DAY): Totals(added_failed=1, cascaded=1, cost=7)}
    assert tally.errors == {}
    [paid] = tally.users.values()
    assert (paid.ended, paid.failed, paid.cost) == (0, 0, 7)


CHILD = '"child_graph_exec_id":"00000000-0000-4000-8000-000000000001"'


def test_a_step_that_failed_with_its_child_is_no_failure_of_its_block() -> None:
    """It ended, with a duration and an error of class child."""
    stats = Raw(f'{{"error":"HTTP 429",{CHILD}}}'.encode())
    tally = tally_of(moved("FAILED", stats=stats))

    ended = tally.blocks[3, "block", MINUTE + 2]
    assert ended.totals == Totals(ended=1, duration_ms=61_500)
    assert ended.error_classes == {ErrorClass.CHILD: 1}
    assert tally.blocks[3, "block", MINUTE].totals == Totals(added_failed=1)
    [error] = tally.errors.values()
    assert (error.fault.kind, error.fault.masked) == (ErrorClass.CHILD, "HTTP <n>")


@pytest.mark.parametrize(
    "child", ["null", '""', "17", '"child"', '{"id":"00000000-0000-4000-8000-000000000001"}']
)
def test_what_is_no_id_of_a_run_names_no_child(child: str) -> None:
    stats = Raw(f'{{"error":"HTTP 429","child_graph_exec_id":{child}}}'.encode())
    totals = tally_of(moved("FAILED", stats=stats)).blocks[3, "block", MINUTE + 2].totals
    assert totals.failed == 1


def test_a_step_that_was_cascaded_is_so_whatever_child_it_has() -> None:
    stats = Raw(f'{{"error":"graph_execution_failed",{CHILD}}}'.encode())
    tally = tally_of(moved("FAILED", stats=stats))
    assert tally.blocks[3, "block", MINUTE + 2].totals == Totals(cascaded=1)


@pytest.mark.parametrize(
    ("error", "is_callers"),
    [("ValidationError: url", 1), ("HTTP 401", 1), ("HTTP 503", 0), ("KeyError: 'a'", 0)],
)
def test_failures_by_the_callers_fault_count_beside(error: str, is_callers: int) -> None:
    stats = Raw(msgspec.json.encode({"error": error}))
    totals = tally_of(moved("FAILED", stats=stats)).blocks[3, "block", MINUTE + 2].totals
    assert (totals.failed, totals.caller_failed) == (1, is_callers)


def test_what_was_counted_by_an_older_definition_is_recounted_by_it() -> None:
    """Up to the source where it ended, in its partition; a file's rules hold likewise."""
    shard = [(ErrorClass.OUTAGE, "shard")]
    definitions = Definitions(
        since=[
            Since(3, NOWHERE, definition(1)),
            Since(3, (17, 0), definition()),
            Since(3, (30, 2), definition(rules=shard)),
        ]
    )

    def totals(error: str, source: Source) -> Totals:
        tally = Tally(definitions)
        tally.count(
            moved("FAILED", stats=Raw(msgspec.json.encode({"error": error})), source=source)
        )
        return tally.blocks[source[0], "block", MINUTE + 2].totals

    cascaded, invalid = "graph_execution_failed", "invalid shard"
    assert totals(cascaded, (3, 17, 0)).failed == 1
    assert totals(cascaded, (3, 17, 1)).cascaded == 1
    assert totals(cascaded, (4, 17, 0)).cascaded == 1
    # The first definition had no such count.
    assert (totals(invalid, (3, 17, 0)).failed, totals(invalid, (3, 17, 0)).caller_failed) == (1, 0)
    assert totals(invalid, (3, 30, 2)).caller_failed == 1
    assert totals(invalid, (3, 30, 3)).caller_failed == 0


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED])
@pytest.mark.parametrize("error", ["boom", "graph_execution_failed"])
def test_the_end_of_a_step_at_a_skewed_time_is_in_no_other_figure(status: str, error: str) -> None:
    """Only its cost and `added_failed` are; the first definition did not distinguish them."""
    stats = Raw(msgspec.json.encode({"error": error, "cost": 7}))
    fact = moved(status, stats=stats, skewed=True)
    tally, old = tally_of(fact), Tally(Definitions(definition(1)))
    old.count(fact)

    assert tally.blocks[3, "block", MINUTE + 2] == BlockMinute(Totals(skewed=1, cost=7))
    assert tally.nodes[3, "graph", "node", DAY] == Totals(
        added_failed=int(status == S.FAILED), skewed=1, cost=7
    )
    [paid] = tally.users.values()
    assert (paid.ended, paid.failed, paid.cost, tally.errors) == (0, 0, 7, {})
    counted = old.blocks[3, "block", MINUTE + 2].totals
    assert (counted.ended, counted.failed, counted.skewed) == (1, int(status == S.FAILED), 0)


def test_what_was_imported_of_the_last_days_is_in_no_live_figure() -> None:
    """It counts as added, failed by the time it was added, and paid for; what is past counts like
    any other change."""
    facts = [
        moved(S.FAILED, stats=Raw(b'{"error": "boom", "cost": 7}')),
        moved(S.TERMINATED),
        moved(S.COMPLETED, type="graph.updated"),
        moved(S.QUEUED, type="node.added"),
    ]

    def imported(mark: str) -> Tally:
        return tally_of(*(msgspec.structs.replace(fact, imported=mark) for fact in facts))

    recent = imported("recent")
    assert imported("past").blocks == imported("").blocks
    assert imported("past").graphs == imported("").graphs != {}
    assert recent.blocks == {
        (3, "block", MINUTE): BlockMinute(Totals(added=1, added_failed=1)),
        (3, "block", MINUTE + 2): BlockMinute(Totals(cost=7)),
    }
    [paid] = recent.users.values()
    assert (paid.ended, paid.failed, paid.cost) == (0, 0, 7)
    assert (recent.graphs, recent.errors) == ({}, {})


def test_the_first_definition_holds_from_the_beginning() -> None:
    """It holds where a rebuild was counted before a worker noted its own."""
    definitions = Definitions(since=[Since(0, (50, 0), definition(1))])
    assert definitions.of((0, 1, 0)).version == 1


def test_a_terminated_step_counts_as_a_move_and_has_not_ended() -> None:
    tally = tally_of(moved("TERMINATED", stats=Raw(b'{"cost":5}')))

    assert tally.blocks == {(3, "block", MINUTE + 2): BlockMinute(Totals(terminated=1))}
    assert tally.users == {}


@pytest.mark.parametrize("status", ["QUEUED", "RUNNING", "REVIEW"])
def test_other_moves_of_steps_count_nothing(status: str) -> None:
    assert tally_of(moved(status)).blocks == {}


def test_a_dry_run_costs_its_user_nothing() -> None:
    """And counts everywhere else."""
    tally = tally_of(moved("COMPLETED", stats=Raw(b'{"cost":12}'), dry_run=True))

    assert tally.users == {}
    assert tally.blocks[3, "block", MINUTE + 2].totals.cost == 12


def test_a_step_that_never_ran_has_no_duration() -> None:
    block = tally_of(moved("FAILED", started_time=None)).blocks[3, "block", MINUTE + 2]

    assert (block.totals.failed, block.totals.duration_ms, block.histogram) == (1, 0, {})


def test_a_skewed_clock_makes_no_negative_duration() -> None:
    block = tally_of(moved("FAILED", started_time=after(500))).blocks[3, "block", MINUTE + 2]

    assert (block.totals.duration_ms, block.histogram) == (0, {bucket_of(0): 1})


def test_runs_count_by_the_status_they_move_to() -> None:
    created = moved("INCOMPLETE", type="graph.created", at=NOON)
    stats_only = msgspec.structs.replace(created, type="graph.updated", status=msgspec.UNSET)
    tally = tally_of(created, moved("RUNNING", type="graph.updated"), stats_only)

    assert tally.graphs == {
        (3, "graph", MINUTE, "INCOMPLETE"): 1,
        (3, "graph", MINUTE + 2, "RUNNING"): 1,
    }


@pytest.mark.parametrize(
    ("json", "expected"),
    {
        b"12": 12,
        b"-3": -3,
        b"1.9": 1,
        b"-1.9": -1,
        b"1e3": 1_000,
        b"9223372036854775807": 2**63 - 1,
        b"-9223372036854775808": -(2**63),
        b"9223372036854775808": 0,
        b"1e400": 0,
        b"9" * 400: 0,
        b"1e99999999999999999999": 0,
        b"1e-400": 0,
        b'"12"': 0,
        b"null": 0,
        b"true": 0,
        b"[1]": 0,
        b"": 0,
    }.items(),
)
def test_a_cost_is_a_number_within_64_bits_or_nothing(json: bytes, expected: int) -> None:
    assert amount(Raw(json)) == expected


@pytest.mark.parametrize("error", [b'{"a":1}', b"17", b'""', b"true", b'"\\u00e9\\ud83d\\ude00"'])
def test_an_error_may_be_any_json(error: bytes) -> None:
    tally = tally_of(moved("FAILED", stats=Raw(b'{"error":' + error + b"}")))

    assert sum(tally.blocks[3, "block", MINUTE + 2].error_classes.values()) == 1


@pytest.mark.parametrize(
    "time", [datetime(1, 1, 1, 0, 0, 30, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)]
)
def test_the_ends_of_the_calendar_are_moments_like_others(time: datetime) -> None:
    """Within a day: Postgres takes the first and the last for infinity."""
    assert abs(time_of(minute_of(time)) - time) <= timedelta(days=1)
    assert time_of(minute_of(time)).date() not in {date.min, date.max}


@given(lives(), st.integers(0, 1_000))
def test_it_does_not_matter_how_events_are_cut_into_batches(
    life: list[RunCommand], seed: int
) -> None:
    """The parts of any cut add up to the whole."""
    facts = [decode_fact(encode_event(event)) for event in events_of(life)]
    cut = random.Random(seed).randint(0, len(facts))
    whole, parts = tally_of(*facts), [tally_of(*facts[:cut]), tally_of(*facts[cut:])]

    for name in ("blocks", "nodes"):
        summed: dict[object, Totals] = {}
        for part in parts:
            for key, value in getattr(part, name).items():
                totals = value.totals if isinstance(value, BlockMinute) else value
                summed.setdefault(key, Totals()).add(totals)
        expected = {
            key: value.totals if isinstance(value, BlockMinute) else value
            for key, value in getattr(whole, name).items()
        }
        assert summed == expected
    graphs = Counter(parts[0].graphs)
    graphs.update(parts[1].graphs)
    assert dict(graphs) == whole.graphs


@given(lives())
def test_totals_are_what_became_of_the_steps(life: list[RunCommand]) -> None:
    """The totals are the number added, and the number in each end by their last event."""
    events = events_of(life)
    last = {event.node_exec_id: event.status for event in events if event.block_id and event.status}
    tally = tally_of(*(decode_fact(encode_event(event)) for event in events))

    total = Totals()
    for block in tally.blocks.values():
        total.add(block.totals)
    statuses = Counter(last.values())
    assert total.added == len(last)
    assert total.added_failed == total.failed + total.cascaded == statuses[S.FAILED]
    assert total.ended + total.cascaded == statuses[S.FAILED] + statuses[S.COMPLETED]
    assert sum(error.failures for error in tally.errors.values()) == total.failed


_COUNTED = ("added", "added_failed", "ended", "failed", "terminated", "cascaded", "skewed")


@given(lives())
def test_totals_are_those_of_the_reference(life: list[RunCommand]) -> None:
    """Which knows a cascaded step by the command that moved its run, and a skewed one by the
    append time of its record: here that of the first one, two hours before it."""
    reference, appended = Reference(), life[0].time - 2 * MOST_AHEAD if life else None
    for offset, command in enumerate(life):
        value = msgspec.json.encode(command)
        reference.feed(0, offset, command.graph_exec_id.encode(), value, appended)
    expected = block_figures(reference.events().get(0, []))
    events = events_of(life)
    for event in events:
        event.skewed = appended is not None and event.at - appended > MOST_AHEAD
    tally = tally_of(*(decode_fact(encode_event(event)) for event in events))

    found: dict[str, Counter[str]] = {}
    for (_, block_id, _), block in tally.blocks.items():
        counted = found.setdefault(block_id, Counter())
        for name in _COUNTED:
            counted[name] += getattr(block.totals, name)
    assert found == expected
