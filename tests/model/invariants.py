"""The invariants of the protocol, one predicate each, and those that it has no part in."""

from collections.abc import Callable, Mapping, Sequence

from tests.model.protocol import Store, System, effects_of

Invariant = Callable[[System], bool]

SENTENCES = {
    "I1": "No loss: what is consumed has an outcome, and its effect, without a gap.",
    "I2": "No double effect, neither of a record nor of a command that was sent twice.",
    "I3": "The final rows are those of the reference: checked where liveness is, in the goal.",
    "I4": "In any snapshot, the rows are those of the reference at the offset.",
    "I7": "An event comes after its row, and who drops repeats reads all of them in order.",
    "I10": "A rebuilt schema that has taken over has all that the one before it has.",
    "L": "Without further faults everything is applied and published, whatever happened before.",
}
ELSEWHERE = {
    "I5": "moves of a status are the rules' own: tests/rules/test_fold.py",
    "I6": "totals are counted by source, after the protocol: tests/agents/torturing.py",
    "I8": "the protocol knows no owners: tests/dashboard/test_access.py",
    "I9": "the model has no inputs that end a worker: tests/attacks",
    "I11": "the model has no costs: tests/attacks",
}


def invariants(log: Sequence[int]) -> Mapping[str, Invariant]:
    """The predicates by number."""

    def no_loss(s: System) -> bool:
        live = s.live
        return live.counted == live.next and set(expected(live)) <= set(live.journal)

    def no_double(s: System) -> bool:
        journal = s.live.journal
        ids = [log[offset] for offset in journal if log[offset] > 0]
        return len(set(journal)) == len(journal) and len(set(ids)) == len(ids)

    def expected(store: Store) -> tuple[int, ...]:
        return effects_of(log, 0, store.next, 0)

    def rows_are_those_of_the_reference(s: System) -> bool:
        return s.live.journal == expected(s.live)

    def events_are_in_order(s: System) -> bool:
        told = s.topic.told
        return set(told) <= set(s.live.journal) and told == whole[: len(told)]

    def nothing_is_left_behind(s: System) -> bool:
        return s.aside is None or set(s.aside.journal) <= set(s.live.journal)

    whole = effects_of(log, 0, len(log), 0)
    return {
        "I1": no_loss,
        "I2": no_double,
        "I4": rows_are_those_of_the_reference,
        "I7": events_are_in_order,
        "I10": nothing_is_left_behind,
    }


def is_goal(log: Sequence[int], s: System) -> bool:
    """Everything is applied and published."""
    return s.live.next == len(log) and s.topic.told == effects_of(log, 0, len(log), 0)
