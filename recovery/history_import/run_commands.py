"""Commands that make a run with its steps, in the order in which everything happened.

The end of a run comes after the moves of its steps, whatever their times, since it would fail those
that are RUNNING; steps that the original left RUNNING in a run that ended get there after it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from typing import Any

from msgspec import UNSET

from execstream.recovery.history_import.derived_ids import command_id, execution_id, moment
from execstream.recovery.history_import.source_rows import (
    Difference,
    RowId,
    SourceRun,
    Table,
)
from execstream.recovery.history_import.step_commands import (
    Planned,
    StepCommands,
    document,
    is_given,
)
from execstream.streams.commands import (
    CreateGraph,
    DeleteGraph,
    RunCommand,
    ShareGraph,
    StartGraph,
    UpdateGraph,
)
from execstream.streams.statuses import ENDED
from execstream.streams.statuses import ExecutionStatus as S


class RunCommands:
    """The commands of one run, without rows in `left_out`."""

    def __init__(self, run: SourceRun, left_out: Collection[RowId]) -> None:
        self._run = run
        self._row = RowId(Table.RUNS, run.id)
        self._about: dict[str, Any] = {
            "user_id": run.user_id,
            "graph_exec_id": execution_id(run.id),
        }
        self._steps = [
            (
                step,
                StepCommands(
                    run,
                    step,
                    [one for one in step.inputs if RowId(Table.VALUES, one.id) not in left_out],
                ),
            )
            for step in run.steps
            if RowId(Table.STEPS, step.id) not in left_out
        ]
        self._left_out = left_out

    def commands(self) -> Iterator[Planned]:
        """Yield all commands, in their order."""
        yield self._creation()
        *moves, end = [*self._moves(), None]
        if moves and S(self._run.status) in ENDED:
            end = moves.pop()
        lives, late = self._lives()
        yield from sorted([*moves, *lives], key=lambda planned: planned.order)
        if end is not None:
            yield end
        yield from late
        yield from self._afterwards()

    def differences(self) -> list[Difference]:
        """Return the columns of the run and its steps that get another value."""
        own = [Difference(self._row, *deviation) for deviation in self._deviations()]
        return own + [one for _, step in self._steps for one in step.differences()]

    # ---- steps -----------------------------------------------------------------------------

    def _lives(self) -> tuple[list[Planned], list[Planned]]:
        """The commands of steps, and those that must follow the end of the run."""
        crowded = self._crowded_nodes()
        lives: list[Planned] = []
        late: list[Planned] = []
        open_for_good: list[Planned] = []
        for step, commands in self._steps:
            creation = [] if commands.is_starting else list(commands.creation())
            moves, until = commands.moves(), commands.left_incomplete
            if until is None:  # nobody else's input may go to it
                open_for_good += creation
            elif step.node_id in crowded:
                creation = [one._replace(order=max(until, one.order)) for one in creation]
            is_late = step.status == S.RUNNING and self._run.status in ENDED
            kept = [one for one in commands.outputs() if one.row not in self._left_out]
            in_order = _in_order([*(creation if until else ()), *moves])
            if is_late:
                late.append(in_order.pop())
            lives += in_order
            begin = in_order[0].order if in_order else self._run.created
            kept = [one._replace(order=max(begin, one.order)) for one in kept]
            (late if until is None else lives).extend(kept)
        return [*lives, *_last(lives, open_for_good)], late

    def _crowded_nodes(self) -> set[str]:
        """Nodes of which two steps waited for inputs at once: an input could go to the other."""
        waits: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
        for step, commands in self._steps:
            if not commands.is_starting and (until := commands.left_incomplete):
                waits[step.node_id].append((step.added, until))
        return {
            node
            for node, spans in waits.items()
            if any(
                later[0] <= earlier[1]
                for earlier, later in zip(sorted(spans), sorted(spans)[1:], strict=False)
            )
        }

    # ---- the run ---------------------------------------------------------------------------

    def _creation(self) -> Planned:
        run = self._run
        command = CreateGraph(
            id=command_id("run", run.id),
            at=moment(run.created),
            graph_id=run.graph_id,
            graph_version=run.graph_version,
            starting_nodes=[step.starting_node() for _, step in self._steps if step.is_starting],
            inputs=document(run.inputs),
            credential_inputs=document(run.credential_inputs),
            nodes_input_masks=document(run.nodes_input_masks),
            preset_id=run.preset_id,
            parent_graph_exec_id=run.parent_id and execution_id(run.parent_id),
            dry_run=True if run.stats and '"is_dry_run": true' in run.stats else None,
            **self._about,
        )
        return Planned(run.created, self._row, command)

    def _way(self) -> list[tuple[S, datetime]]:
        run, status = self._run, S(self._run.status)
        latest = run.updated or run.ended or run.started or run.created
        started = run.started
        if started is None and status in (S.RUNNING, S.COMPLETED, S.REVIEW):
            started = run.created
        if status is S.INCOMPLETE:
            return []
        way = [] if started is None else [(S.RUNNING, started)]
        if status is S.QUEUED:
            # Resumed, from whichever halt.
            return [*way, *([(S.REVIEW, latest)] if way else []), (S.QUEUED, latest)]
        if status is not S.RUNNING:
            way.append((status, (run.ended or latest) if status in ENDED else latest))
        return way

    def _moves(self) -> Iterator[Planned]:
        way = self._way()
        stats = document(self._run.stats)
        for number, (status, time) in enumerate(way):
            about: dict[str, Any] = {
                "id": command_id("move", self._run.id, status, time),
                "at": moment(time),
            }
            is_last = number == len(way) - 1
            command: RunCommand = StartGraph(**about, **self._about)
            if status is not S.RUNNING:
                command = UpdateGraph(
                    status=status, stats=stats if is_last else UNSET, **about, **self._about
                )
            yield Planned(time, self._row, command)
        if stats is not UNSET and self._run.status in (S.INCOMPLETE, S.RUNNING):
            time = self._run.updated or self._run.created
            digest = sha256(bytes(stats)).hexdigest()
            about = {"id": command_id("stats", self._run.id, digest), "at": moment(time)}
            yield Planned(time, self._row, UpdateGraph(stats=stats, **about, **self._about))

    def _afterwards(self) -> Iterator[Planned]:
        run = self._run
        latest = run.updated or run.ended or run.started or run.created
        if run.is_shared and run.share_token is not None:
            time = run.shared or latest
            token_hash = sha256(run.share_token.encode()).hexdigest()
            share = ShareGraph(
                id=command_id("share", run.id, time, token_hash),
                at=moment(time),
                is_shared=True,
                share_token_hash=token_hash,
                **self._about,
            )
            yield Planned(time, self._row, share)
        if run.is_deleted:
            deletion = DeleteGraph(
                id=command_id("delete", run.id), at=moment(latest), **self._about
            )
            yield Planned(latest, self._row, deletion)

    def _deviations(self) -> Iterator[tuple[str, object, object]]:
        run, way = self._run, dict(self._way())
        status = S(run.status)
        if execution_id(run.id) != run.id:
            yield "id", run.id, execution_id(run.id)
        if way.get(S.RUNNING) != run.started:
            yield "startedAt", run.started, way.get(S.RUNNING)
        ended = way.get(status) if status in ENDED else None
        if ended != run.ended:
            yield "endedAt", run.ended, ended
        if run.is_shared and (run.share_token is None or run.shared is None):
            yield "isShared", True, run.share_token is not None
        for column, text in (
            ("inputs", run.inputs),
            ("credentialInputs", run.credential_inputs),
            ("nodesInputMasks", run.nodes_input_masks),
            ("stats", run.stats),
        ):
            if text is not None and is_given(text) and not text.startswith("{"):
                yield column, text, "an object"


def _in_order(commands: Iterable[Planned]) -> list[Planned]:
    """`commands` of one step, each not before the one that it depends on."""
    ordered: list[Planned] = []
    for one in commands:
        order = max(one.order, ordered[-1].order) if ordered else one.order
        ordered.append(one._replace(order=order))
    return ordered


def _last(lives: Iterable[Planned], commands: Iterable[Planned]) -> list[Planned]:
    """`commands` after all of `lives`."""
    latest = max((one.order for one in lives), default=None)
    if latest is None:
        return _in_order(commands)
    return _in_order(one._replace(order=max(latest, one.order)) for one in commands)
