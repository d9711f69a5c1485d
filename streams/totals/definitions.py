"""Definitions of the totals: how failures are attributed, and from which source on.

Counted events stay as they were counted. For a recount to have the same result, each change of the
definition is kept with the source that it holds from (table `totals_definition`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from execstream.streams.events import NOWHERE, Source, SourceOffset
from execstream.streams.statuses import ENDED, cascade_error
from execstream.streams.totals.error_classes import (
    BUILT_IN,
    BUILT_IN_UNTIL_0_1,
    CALLER,
    Classifier,
    Fault,
    Rule,
)

# 1: all failed steps are failures of their block, and none counts as the caller's. 2: neither those
# that the cascade ended nor those of a failed child are, and the caller's are counted beside, as
# are steps that ended at a skewed time. Fingerprints of a block and hour are bounded. Errors are
# counted by run, too, and so are the costs that budgets are judged by.
VERSION = 2

_CASCADED = frozenset(map(cascade_error, ENDED))


@dataclass(frozen=True, slots=True)
class Definition:
    """A way of counting steps. `rules`: those of a file."""

    version: int
    rules: tuple[Rule, ...]
    classifier: Classifier

    def fault_of(self, error: str, *, has_child: bool) -> Fault | None:
        """The fault of a step that failed with `error`; None when the cascade ended it."""
        if self.version == 1:
            return self.classifier.judge(error)
        if error in _CASCADED:
            return None
        return self.classifier.judge(error, is_child=has_child)

    def leaves_out(self, *, is_skewed: bool) -> bool:
        """Return whether the end of a step counts as `skewed` only; never in version 1."""
        return is_skewed and self.version > 1

    @property
    def bounds_fingerprints(self) -> bool:
        """Return whether a block and hour keep a limited number of fingerprints; version 1 kept
        all.
        """
        return self.version > 1

    @property
    def keeps_run_errors(self) -> bool:
        """Return whether errors are counted by run, too."""
        return self.version > 1

    @property
    def keeps_spending(self) -> bool:
        """Return whether costs are counted for budgets, too."""
        return self.version > 1

    def is_of_caller(self, fault: Fault | None) -> bool:
        """Return whether the fault counts as the caller's, which version 1 did not count."""
        return self.version > 1 and fault is not None and fault.kind in CALLER


def definition(version: int = VERSION, rules: Iterable[Rule] = ()) -> Definition:
    """The definition of a version, with the rules of a file."""
    kept = tuple(rules)
    if version == 1:
        return Definition(version, kept, BUILT_IN_UNTIL_0_1)
    return Definition(version, kept, Classifier(kept) if kept else BUILT_IN)


class Since(NamedTuple):
    """`definition` holds for sources of `partition` that come after `place`."""

    partition: int
    place: SourceOffset
    definition: Definition


class Definitions:
    """The definitions that held, by source.

    Before the first of a partition that one holds as well; `latest` where there is none.
    """

    def __init__(self, latest: Definition | None = None, since: Iterable[Since] = ()) -> None:
        self.latest = latest or _BUILT_IN
        self._since: dict[int, list[Since]] = {}
        for one in sorted(since, key=lambda one: (one.partition, one.place)):
            self._since.setdefault(one.partition, []).append(one)

    @property
    def newest(self) -> Mapping[int, Definition]:
        """The last definition of each partition."""
        return {partition: some[-1].definition for partition, some in self._since.items()}

    def of(self, source: Source) -> Definition:
        """The definition that the event of `source` is counted by."""
        some = self._since.get(source[0])
        if some is None:
            return self.latest
        held = [one for one in some if one.place == NOWHERE or source[1:] > one.place]
        return (held or some[:1])[-1].definition


_BUILT_IN = definition()
