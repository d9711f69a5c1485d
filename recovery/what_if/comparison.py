"""Hypothetical outcomes of runs under another transition table.

The same commands are folded under two tables. Both folds are kept in memory: about 2 kB per step.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from execstream.streams.commands import RunCommand
from execstream.streams.errors import Fatal
from execstream.streams.fold import fold
from execstream.streams.outcomes import Duplicate, Refused
from execstream.streams.state import Run
from execstream.streams.statuses import ALLOWED_FROM, ExecutionStatus, Table


class NoTable(Fatal):
    """The file's transition table is invalid."""


def table_of(given: Any) -> Table:
    """The table in `given`: destinations, each with the statuses that may become it, as names or
    members of `ExecutionStatus`. A destination that is left out cannot be reached.

    Raises NoTable.
    """
    if not isinstance(given, Mapping):
        raise NoTable("ALLOWED_FROM is no dict of statuses to sets of statuses.")
    try:
        return {
            ExecutionStatus(to): frozenset(map(ExecutionStatus, sources))
            for to, sources in given.items()
        }
    except (TypeError, ValueError) as error:
        raise NoTable(f"ALLOWED_FROM is no transition table: {error}.") from None


@dataclass
class Side:
    """One fold of the commands."""

    table: Table
    runs: dict[str, Run] = field(default_factory=dict)

    def fold(self, command: RunCommand) -> str:
        """Return the outcome of the command, in a word or two."""
        result = fold(self.runs.get(command.graph_exec_id), command, 0, self.table)
        if isinstance(result, Refused):
            return f"refused {result.reason}"
        if isinstance(result, Duplicate):
            return "duplicate"
        self.runs[command.graph_exec_id] = result[0]
        return "applied"

    def end(self, run_id: str) -> "End":
        """Return the state of the run now."""
        run = self.runs.get(run_id)
        if run is None:
            return NO_RUN
        steps = Counter(step.status for step in run.steps.values())
        return End(run.status, dict(steps))


@dataclass
class Parting:
    """The point at which the two folds of a run part.

    Attributes:
        command_id: of the first command with another outcome; `type` is its type.
        was: its outcome under the rules in force; `would_be`: under the other table.
        commands: the number with another outcome.
    """

    command_id: str
    type: str
    was: str
    would_be: str
    commands: int = 0


@dataclass
class Difference:
    """A run with another state, at the end or in between.

    Attributes:
        was: its state under the rules in force.
        would_be: the same under other rules.
        parting: the first command with another outcome, where outcomes are known.
    """

    graph_exec_id: str
    was: "End"
    would_be: "End"
    parting: Parting | None = None

    @property
    def ends_differently(self) -> bool:
        return self.was != self.would_be


@dataclass(frozen=True)
class End:
    """The state of a run after the last command: its status, and the number of its steps by status.
    No status: there is no such run.
    """

    status: ExecutionStatus | None
    steps: Mapping[ExecutionStatus, int]


NO_RUN = End(None, {})


class WhatIf:
    """Folds commands under the table that holds and under `table`."""

    def __init__(self, table: Table) -> None:
        self.commands = 0
        self._as_is = Side(ALLOWED_FROM)
        self._other = Side(table)
        self._partings: dict[str, Parting] = {}

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self._as_is.runs)

    def add(self, command: RunCommand) -> None:
        """Fold the next command; those of a run must come in order."""
        self.commands += 1
        was, would_be = self._as_is.fold(command), self._other.fold(command)
        if was == would_be:
            return
        run_id = command.graph_exec_id
        if run_id not in self._partings:
            parting = Parting(command.id, command.type, was, would_be)
            self._partings[run_id] = parting
        self._partings[run_id].commands += 1

    def differences(self) -> list[Difference]:
        """Runs of which a command has another outcome, in the order in which they part."""
        return [
            Difference(run_id, self._as_is.end(run_id), self._other.end(run_id), parting)
            for run_id, parting in self._partings.items()
        ]


class Compared:
    """Folds commands under the rules of this version, to be compared with the stored runs."""

    def __init__(self) -> None:
        self.commands = 0
        self._side = Side(ALLOWED_FROM)

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self._side.runs)

    def add(self, command: RunCommand) -> None:
        """Fold the next command; those of a run must come in order."""
        self.commands += 1
        self._side.fold(command)

    def run_ids(self) -> list[str]:
        """The runs with a known beginning."""
        return list(self._side.runs)

    def differences(
        self, stored: Mapping[str, End], unknown: Collection[str] = ()
    ) -> list[Difference]:
        """Runs that are stored otherwise than they are folded; without those in `unknown`."""
        found = [
            Difference(run_id, stored.get(run_id, NO_RUN), self._side.end(run_id))
            for run_id in self._side.runs
            if run_id not in unknown
        ]
        return [one for one in found if one.ends_differently]
