"""Aggregation of events into additions to the totals: pure, without knowledge of earlier events.

Every total is a sum over events, so a batch of them is a set of differences, and the same
differences come out however events are cut into batches. The caller has to know which events were
counted before (`source`). Rows are by source partition: partitions never meet on one.

Which figure counts an event, and in which minute or day (`docs/contract.md`, section 5):

* `added`, `added_failed`: in the minute of the step's `added_time`;
* `ended`, `failed`, and with them duration, cost, tokens and the error: at COMPLETED or FAILED, in
  the minute of its `ended_time`. Cost, tokens and error are those of the stats that came with
  that move; a duration is from `started_time`, and a step that never ran has none;
* `cascaded`: steps that failed because their run ended. They are in neither of these, except
  for their cost;
* `skewed`: steps that ended at a time more than an hour ahead of the append time of their record.
  They too are in none of these, cascaded or not, except for their cost;
* `caller_failed`: those of `failed` that the caller's input or credentials caused. A step that
  failed because its child run did is in `ended`, and no failure of its block;
* `terminated`: moves, in the minute of `at`;
* a run's statuses: moves, creation among them, in the minute of `at`.

Imported changes within the live windows are in `added`, `added_failed`, cost and tokens only.

Dry runs count everywhere except in the cost to users and in `spending`, which budgets are judged
by and which leaves out imported changes, too.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from execstream.streams.events import Source, SourceOffset
from execstream.streams.imported import Imported
from execstream.streams.statuses import FINAL, ExecutionStatus
from execstream.streams.totals.budgets import Per
from execstream.streams.totals.definitions import Definition, Definitions
from execstream.streams.totals.error_classes import ErrorClass, Fault
from execstream.streams.totals.histogram import bucket_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE, _MILLISECOND = timedelta(minutes=1), timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)
MINUTES_PER_HOUR, MINUTES_PER_DAY = 60, 1_440
_FIRST = (datetime(1, 1, 2, tzinfo=UTC) - _EPOCH) // _MINUTE
_LAST = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MINUTE - 1

_LEAST, _MOST = -(2**63), 2**63 - 1
_RUN_ID = re.compile(rb'"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"')
_PLAIN = 18  # digits that always fit into 64 bits

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Fact(Struct):
    """The fields of an event that the tally reads."""

    type: str
    at: Moment
    source: Source
    seq: int = 0
    graph_exec_id: str = ""
    graph_id: str = ""
    user_id: str = ""
    dry_run: bool = False
    node_exec_id: str = ""
    node_id: str = ""
    block_id: str = ""
    added_time: Moment | None = None
    started_time: Moment | None = None
    ended_time: Moment | None = None
    status: str | UnsetType = UNSET
    stats: Raw | UnsetType = UNSET
    skewed: bool = False
    imported: str = ""
    hard: bool = False


decode_fact = msgspec.json.Decoder(Fact).decode


class Totals(Struct):
    """Steps of a block, or of a node of a graph, in some span of time. `cost` in cents."""

    added: int = 0
    added_failed: int = 0
    ended: int = 0
    failed: int = 0
    terminated: int = 0
    duration_ms: int = 0
    cost: int = 0
    tokens: int = 0
    cascaded: int = 0
    caller_failed: int = 0
    skewed: int = 0

    def add(self, more: "Totals") -> None:
        self.added += more.added
        self.added_failed += more.added_failed
        self.ended += more.ended
        self.failed += more.failed
        self.terminated += more.terminated
        self.duration_ms += more.duration_ms
        self.cost += more.cost
        self.tokens += more.tokens
        self.cascaded += more.cascaded
        self.caller_failed += more.caller_failed
        self.skewed += more.skewed


class BlockMinute(Struct):
    """A block's minute: durations by bucket (`histogram`), and failures by class of error."""

    totals: Totals = msgspec.field(default_factory=Totals)
    histogram: dict[int, int] = {}
    error_classes: dict[str, int] = {}


class UserDay(Struct):
    """Totals of a user's steps on a day."""

    ended: int = 0
    failed: int = 0
    cost: int = 0
    tokens: int = 0


class BlockError(Struct):
    """Failures of a block with one fingerprint in an hour, and the last of them as a sample.

    Attributes:
        is_bounded: whether it counts as `other` when there are many fingerprints before it.
        latest: the number of the last of these failures among those of the tally.
    """

    fault: Fault
    is_bounded: bool
    graph_exec_id: str = ""
    node_exec_id: str = ""
    at: datetime = _EPOCH
    failures: int = 0
    latest: int = 0


class RunError(Struct):
    """Failures of a run's steps of one block with one fingerprint in an hour; the last of them.
    `latest` as in `BlockError`.
    """

    kind: ErrorClass
    failures: int = 0
    node_exec_id: str = ""
    at: datetime = _EPOCH
    latest: int = 0


CURRENT = Definitions()


class Tally:
    """The sums of a batch of events. Minutes, hours and days are counted from 1970, in UTC.

    Keys begin with the source partition; `blocks`: and block, minute; `nodes`: and graph, node,
    day; `graphs`: and graph, minute, status; `users`: and user, day; `errors`: and block, hour,
    fingerprint, in the order in which these came first; `run_errors`: and run, block, hour,
    fingerprint, in that order, too. `erased` are runs whose errors go, with all that were counted
    before. `spending`: and kind of subject, run, user or graph, day, with the cost.
    `block_places` and `node_places` hold the last source that touched a block or a node.
    """

    def __init__(self, definitions: Definitions = CURRENT) -> None:
        self._definitions = definitions
        self._faults = 0
        self.blocks: dict[tuple[int, str, int], BlockMinute] = {}
        self.nodes: dict[tuple[int, str, str, int], Totals] = {}
        self.graphs: dict[tuple[int, str, int, str], int] = {}
        self.users: dict[tuple[int, str, int], UserDay] = {}
        self.errors: dict[tuple[int, str, int, str], BlockError] = {}
        self.run_errors: dict[tuple[int, str, str, int, str], RunError] = {}
        self.erased: list[str] = []
        self.spending: dict[tuple[int, Per, str, int], int] = {}
        self.block_places: dict[tuple[int, str], SourceOffset] = {}
        self.node_places: dict[tuple[int, str, str], SourceOffset] = {}

    def count(self, fact: Fact) -> None:
        """Add `fact` to the sums; most types are not counted.

        A fact that no worker of ours wrote may raise `errors.NOT_READABLE`, and nothing is added.
        """
        counted = _COUNTED.get(fact.type)
        if counted is not None:
            counted(self, fact)

    # ---- by type of event ------------------------------------------------------------------

    def _graph_moved(self, fact: Fact) -> None:
        if fact.status is not UNSET and fact.imported != Imported.RECENT:
            key = (fact.source[0], fact.graph_id, minute_of(fact.at), fact.status)
            self.graphs[key] = self.graphs.get(key, 0) + 1

    def _graph_deleted(self, fact: Fact) -> None:
        if fact.hard:  # no step of the run can fail after it
            self.erased.append(fact.graph_exec_id)

    def _node_added(self, fact: Fact) -> None:
        block, node = self._places(fact, fact.added_time or fact.at)
        block.totals.added += 1
        node.added += 1

    def _node_moved(self, fact: Fact) -> None:
        if fact.status in FINAL:
            self._node_ended(fact)
        elif fact.status == ExecutionStatus.TERMINATED and fact.imported != Imported.RECENT:
            block, node = self._places(fact, fact.at)
            block.totals.terminated += 1
            node.terminated += 1

    def _node_ended(self, fact: Fact) -> None:
        ended = fact.ended_time or fact.at
        stats = _stats_of(fact)
        failed = fact.status == ExecutionStatus.FAILED
        definition = self._definitions.of(fact.source)
        skewed = definition.leaves_out(is_skewed=fact.skewed)
        left_out = skewed or fact.imported == Imported.RECENT
        # Unreadable values raise here, before anything is added.
        fault = _fault_of(definition, stats) if failed and not left_out else None
        more = Totals(
            ended=int(not left_out and (not failed or fault is not None)),
            failed=int(fault is not None and fault.kind is not ErrorClass.CHILD),
            cost=amount(stats.cost),
            tokens=amount(stats.input_token_count) + amount(stats.output_token_count),
            cascaded=int(failed and not left_out and fault is None),
            caller_failed=int(definition.is_of_caller(fault)),
            skewed=int(skewed),
        )
        block, node = self._places(fact, ended)
        if more.ended and fact.started_time is not None:
            ran = ended - fact.started_time
            more.duration_ms = max(0, ran // _MILLISECOND)
            bucket = bucket_of(ran // _MICROSECOND)
            block.histogram[bucket] = block.histogram.get(bucket, 0) + 1
        block.totals.add(more)
        node.add(more)
        if not fact.dry_run:
            self._charge(fact, ended, more)
            if more.cost and not fact.imported and definition.keeps_spending:
                self._spend(fact, ended, more.cost)
        if fault is not None:
            self._add_fault(fact, block, ended, fault)
        if failed:
            block, node = self._places(fact, fact.added_time or ended)
            block.totals.added_failed += 1
            node.added_failed += 1

    def _add_fault(self, fact: Fact, block: BlockMinute, ended: datetime, fault: Fault) -> None:
        block.error_classes[fault.kind] = block.error_classes.get(fault.kind, 0) + 1
        hour = minute_of(ended) // MINUTES_PER_HOUR
        key = (fact.source[0], fact.block_id, hour, fault.fingerprint)
        definition = self._definitions.of(fact.source)
        error = self.errors.get(key)
        if error is None:
            error = self.errors[key] = BlockError(fault, definition.bounds_fingerprints)
        self._faults += 1
        error.latest = self._faults
        error.failures += 1
        error.graph_exec_id, error.node_exec_id = fact.graph_exec_id, fact.node_exec_id
        error.at = ended
        if definition.keeps_run_errors:
            of_run = (fact.source[0], fact.graph_exec_id, *key[1:])
            mine = self.run_errors.setdefault(of_run, RunError(fault.kind))
            mine.failures += 1
            mine.node_exec_id, mine.at, mine.latest = fact.node_exec_id, ended, self._faults

    def _charge(self, fact: Fact, ended: datetime, more: Totals) -> None:
        key = (fact.source[0], fact.user_id, minute_of(ended) // MINUTES_PER_DAY)
        user = self.users.get(key)
        if user is None:
            user = self.users[key] = UserDay()
        user.ended += more.ended
        user.failed += more.failed
        user.cost += more.cost
        user.tokens += more.tokens

    def _spend(self, fact: Fact, ended: datetime, cost: int) -> None:
        day = minute_of(ended) // MINUTES_PER_DAY
        for per, subject in (
            (Per.RUN, fact.graph_exec_id),
            (Per.USER_DAY, fact.user_id),
            (Per.GRAPH_DAY, fact.graph_id),
        ):
            key = (fact.source[0], per, subject, day)
            self.spending[key] = self.spending.get(key, 0) + cost

    def _places(self, fact: Fact, time: datetime) -> tuple[BlockMinute, Totals]:
        """Where to count an event of the step of `fact` that belongs to `time`."""
        partition, *place = fact.source
        minute = minute_of(time)
        block_key = (partition, fact.block_id, minute)
        block = self.blocks.get(block_key)
        if block is None:
            block = self.blocks[block_key] = BlockMinute()
        node_key = (partition, fact.graph_id, fact.node_id, minute // MINUTES_PER_DAY)
        node = self.nodes.get(node_key)
        if node is None:
            node = self.nodes[node_key] = Totals()
        self.block_places[block_key[:2]] = self.node_places[node_key[:3]] = (place[0], place[1])
        return block, node


_COUNTED: dict[str, Callable[[Tally, Fact], None]] = {
    "graph.created": Tally._graph_moved,  # noqa: SLF001 - a method of the class above
    "graph.updated": Tally._graph_moved,  # noqa: SLF001
    "graph.deleted": Tally._graph_deleted,  # noqa: SLF001
    "node.added": Tally._node_added,  # noqa: SLF001
    "node.updated": Tally._node_moved,  # noqa: SLF001
}


def time_of(minute: int) -> datetime:
    """The time at which `minute` begins."""
    return _EPOCH + minute * _MINUTE


def minute_of(time: datetime) -> int:
    """Whole minutes from 1970 to `time`, rounded down.

    The calendar's first and last day count as the days beside them: as dates, these two stand for
    infinity in Postgres.
    """
    return min(max((time - _EPOCH) // _MINUTE, _FIRST), _LAST)


class _StepStats(Struct):
    cost: Raw = Raw()
    input_token_count: Raw = Raw()
    output_token_count: Raw = Raw()
    error: Raw = Raw()
    child_graph_exec_id: Raw = Raw()


_NO_STATS = _StepStats()
_decode_stats = msgspec.json.Decoder(_StepStats).decode


def _stats_of(fact: Fact) -> _StepStats:
    return _NO_STATS if fact.stats is UNSET else _decode_stats(fact.stats)


def _fault_of(definition: Definition, stats: _StepStats) -> Fault | None:
    """Why a step failed; None when the end of its run ended it."""
    has_child = is_run_id(stats.child_graph_exec_id)
    return definition.fault_of(_text(stats.error), has_child=has_child)


def amount(json: Raw | bytes) -> int:
    """A number cut to an integer; 0 for any other value, or beyond 64 bits."""
    text = bytes(json)
    if text.isdigit() and len(text) <= _PLAIN:
        return int(text)
    if text[:1] not in b"-0123456789" or not text:
        return 0
    try:
        number = Decimal(text.decode())
    except InvalidOperation:
        return 0
    return int(number) if _LEAST <= number <= _MOST else 0


def is_run_id(json: Raw | bytes) -> bool:
    """Return whether JSON is the id of a run: a UUID in lower case with hyphens."""
    return _RUN_ID.fullmatch(json) is not None


def _text(json: Raw) -> str:
    """An error as text; other JSON is returned as it is written, and null as an empty text."""
    text = bytes(json)
    if text.startswith(b'"'):
        return msgspec.json.decode(text, type=str)
    return "" if text == b"null" else text.decode()
