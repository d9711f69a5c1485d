"""Facts derived from entries are those that the tally reads from the events."""

from datetime import UTC, datetime

from execstream.recovery.replay.journal_facts import fact_of
from execstream.streams.commands import RunCommand
from execstream.streams.decoding import decode
from execstream.streams.events import encode_event, run_event
from execstream.streams.fold import fold
from execstream.streams.imported import Imported, mark_imported
from execstream.streams.journal import mark_skewed
from execstream.streams.state import Run
from execstream.streams.totals.aggregation import Fact, Tally, decode_fact
from execstream.workload.simulation import Mix, load_graphs, simulate
from tests.orders import Orders
from tests.worker import HOME

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_facts_of_entries_add_up_to_those_of_events() -> None:
    """Over simulated runs with every kind of move, both ways to the totals give the same."""
    by_event, by_entry = Tally(), Tally()
    told = 0
    for event, fact in _both_ways():
        by_event.count(event)
        if fact is not None:
            by_entry.count(fact)
            told += 1
    assert told > 1_000
    assert any(totals.skewed for totals in by_event.nodes.values())
    assert vars(by_entry) == vars(by_event)


def _both_ways() -> list[tuple[Fact, Fact | None]]:
    """The fact of its event for each entry, and the one derived without it."""
    runs: dict[str, Run] = {}
    found = []
    graphs = load_graphs(HOME / "examples" / "graphs")
    mix = Mix(failures=0.1, terminated=0.05, review=0.05, resumed=0.05)
    records = simulate(graphs, runs=60, seed=1, start=START, mix=mix)
    for offset, (key, value) in enumerate(records):
        command = decode(key, value)
        if not isinstance(command, RunCommand):
            continue
        result = fold(runs.get(command.graph_exec_id), command, 0)
        if not isinstance(result, tuple):
            continue
        run, entries = result
        runs[run.id] = run
        for index, entry in enumerate(entries):
            source = (0, offset, index)
            if index % 2:
                mark_skewed([entry])
            if offset % 3:
                mark_imported([entry], list(Imported)[offset % 2])
            event = encode_event(run_event(run, entry, source))
            found.append((decode_fact(event), fact_of(run, entry, source)))
    return found


def test_an_erased_run_is_named_by_both() -> None:
    """A hard deletion is a fact of event and entry alike; a soft one is none."""
    orders = Orders()
    for hard, erased in ((False, []), (True, [orders.run_id])):
        run: Run | None = None
        by_event, by_entry = Tally(), Tally()
        for offset, order in enumerate((orders.create(), orders.order("graph.delete", hard=hard))):
            command = decode(order.key, order.value)
            assert isinstance(command, RunCommand)
            result = fold(run, command, 0)
            assert isinstance(result, tuple)
            run, [entry] = result
            source = (0, offset, 0)
            by_event.count(decode_fact(encode_event(run_event(run, entry, source))))
            if (fact := fact_of(run, entry, source)) is not None:
                by_entry.count(fact)
        assert (by_event.erased, by_entry.erased) == (erased, erased)
