"""The dictionary machine: raw records in, rows, journal, refusals, dead letters, events out."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from execstream.streams.omitted import OmittedValue, records_of
from execstream.workload.reference.checks import (
    RefusedError,
    check,
    new_step_id,
    open_step,
    parted,
    starting_ids,
)
from execstream.workload.reference.exact_reading import Json
from execstream.workload.reference.reading import Command, DeadError, key_of, read, without_nulls
from execstream.workload.reference.rows import BROUGHT, Row, new_run, new_step, run_day

_AHEAD = timedelta(hours=1)
ENDED = frozenset({"COMPLETED", "FAILED", "TERMINATED"})
_STEP_TIMES = ("added_time", "queued_time", "started_time", "ended_time")
_STAMP_OF = {
    "QUEUED": "queued_time",
    "RUNNING": "started_time",
    "COMPLETED": "ended_time",
    "FAILED": "ended_time",
}


class Outcome(NamedTuple):
    """The outcome of a record: `applied`, `duplicate`, `refused` or `dead`, and the reason."""

    kind: str
    reason: str | None = None
    detail: dict[str, Json] | str | None = None


@dataclass
class _Applying:
    """A command being applied, its place, and its number of events so far."""

    command: Command
    partition: int
    offset: int
    appended: datetime | None
    index: int = 0

    @property
    def at(self) -> datetime:
        at: datetime = self.command["at"]
        return at

    @property
    def skewed(self) -> bool | None:
        """None for false, as in an event."""
        return (self.appended is not None and self.at > self.appended + _AHEAD) or None


class Reference:
    """Everything that must be in Postgres and on the events topic after the records fed so far.

    Rows are dictionaries with the columns of contract §5, in order, and times as `datetime` in UTC.
    `steps` is keyed by (run id, step id). A step row also holds its `inputs` and `outputs` as
    (pin → value) and a list of (pin, value). The journal's `detail` is None here.
    """

    def __init__(self, max_command_bytes: int = 8 * 2**20) -> None:
        self.max_command_bytes = max_command_bytes
        self.runs: dict[str, Row] = {}
        self.journal: dict[str, list[Row]] = {}
        self.kv: dict[tuple[str, str], Row] = {}
        self.kv_journal: list[Row] = []
        self.refusals: list[Row] = []
        self.dead_letters: list[Row] = []
        self.counts: Counter[str] = Counter(applied=0, duplicate=0, refused=0, dead=0)
        self._steps: dict[str, dict[str, Row]] = {}
        self._applied: defaultdict[str, set[str]] = defaultdict(set)
        self._erased: set[str] = set()
        self._events: defaultdict[int, list[dict[str, Json]]] = defaultdict(list)

    @property
    def steps(self) -> dict[tuple[str, str], Row]:
        """All step rows by (run id, step id), oldest first within a run."""
        return {
            (run_id, step_id): step
            for run_id, steps in self._steps.items()
            for step_id, step in steps.items()
        }

    def events(self) -> dict[int, list[dict[str, Json]]]:
        """The events of each partition in order, as `read_event` reads published ones."""
        return dict(self._events)

    def feed(
        self,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        appended: datetime | None = None,
    ) -> Outcome:
        """Take the next record of a partition, which the broker appended then; None: unknown."""
        try:
            command = read(key, value, self.max_command_bytes)
            applying = _Applying(command, partition, offset, appended)
            outcome = self._judge(applying)
        except DeadError as dead:
            outcome = Outcome("dead", dead.reason, dead.detail)
            stored = None if isinstance(value, OmittedValue) else value
            letter = {"partition": partition, "offset": offset, "key": key, "value": stored}
            self.dead_letters.append(letter | {"reason": dead.reason, "detail": dead.detail})
        self.counts[outcome.kind] += records_of(value)
        return outcome

    def _judge(self, applying: _Applying) -> Outcome:
        try:
            if self._was_applied(applying):
                return Outcome("duplicate")
            self._check(applying)
        except RefusedError as refused:
            self._refuse(applying, refused)
            return Outcome("refused", refused.reason, refused.detail)
        self._apply(applying)
        self._applied[_scope(applying.command)].add(applying.command["id"])
        return Outcome("applied")

    def _was_applied(self, applying: _Applying) -> bool:
        """Also raises the reasons that come before `duplicate`."""
        command = applying.command
        if command["type"] != "kv.set":
            run = self.runs.get(command["graph_exec_id"])
            if run is None and command["type"] != "graph.create":
                raise RefusedError("unknown_graph_execution")
            if run is not None and run["source_partition"] != applying.partition:
                raise DeadError("wrong_partition", f"the run is on {run['source_partition']}")
            if run is not None and run["user_id"] != command["user_id"]:
                raise RefusedError("wrong_owner")
        return command["id"] in self._applied[_scope(command)]

    def _check(self, applying: _Applying) -> None:
        command = applying.command
        if command["type"] == "kv.set":
            stored = self.kv.get((command["user_id"], command["key"]))
            if stored is not None and applying.at < stored["updated_at"]:
                raise RefusedError("superseded")
            return
        run_id = command["graph_exec_id"]
        run = self.runs.get(run_id, {})
        if run and command["type"] == "graph.create":
            raise RefusedError("already_exists")
        if run and run["is_deleted"] and not self._is_last_word(command):
            raise RefusedError("deleted")
        check(command, run, self._steps.get(run_id, {}))

    def _is_last_word(self, command: Command) -> bool:
        """A hard delete of a run that was only softly deleted."""
        is_hard = command["type"] == "graph.delete" and command.get("hard", False)
        return is_hard and command["graph_exec_id"] not in self._erased

    def _refuse(self, applying: _Applying, refused: RefusedError) -> None:
        command = applying.command
        about = {
            "command_id": command["id"],
            "graph_exec_id": _run_id_of(command),
            "user_id": command["user_id"],
            "command_type": command["type"],
            "reason": refused.reason,
            "detail": refused.detail,
            "at": applying.at,
        }
        place = {"source_partition": applying.partition, "source_offset": applying.offset}
        self.refusals.append(place | about)
        self._emit(applying, {"type": "command.refused"} | about)

    def _emit(self, applying: _Applying, event: dict[str, Json]) -> None:
        event["source"] = [applying.partition, applying.offset, applying.index]
        self._events[applying.partition].append(without_nulls(event))

    def _apply(self, applying: _Applying) -> None:  # noqa: C901 - one case per command type
        match applying.command["type"]:
            case "graph.create":
                self._create(applying)
            case "graph.start":
                self._start(applying)
            case "graph.update":
                self._update(applying)
            case "graph.share":
                self._share(applying)
            case "graph.delete":
                self._delete(applying)
            case "node.input":
                self._input(applying)
            case "node.output":
                self._output(applying)
            case "node.update":
                self._update_step(applying)
            case "node.update_many":
                self._update_steps(applying)
            case "kv.set":
                self._set_kv(applying)

    def _create(self, applying: _Applying) -> None:
        command = applying.command
        run_id = command["graph_exec_id"]
        self.runs[run_id] = run = new_run(command, applying.partition)
        self.journal[run_id] = []
        self._steps[run_id] = {}
        others = ("preset_id", "parent_graph_exec_id", "attributes")
        brought = {name: run[name] for name in (*BROUGHT, *others)}
        self._enter(applying, "graph.created", status="INCOMPLETE", **brought)
        for node, step_id in zip(command["starting_nodes"], starting_ids(command), strict=True):
            self._add_step(applying, step_id, node, "QUEUED")
            for name, data in node["inputs"].items():
                self._add_input(applying, step_id, name, data)

    def _start(self, applying: _Applying) -> None:
        self._run(applying)["started_at"] = applying.at
        self._move_run(applying, "RUNNING")

    def _update(self, applying: _Applying) -> None:
        run = self._run(applying)
        if applying.command.get("status") == "RUNNING" and run["started_at"] is None:
            run["started_at"] = applying.at
        self._move_run(applying, applying.command.get("status"))

    def _move_run(self, applying: _Applying, status: str | None) -> None:
        run = self._run(applying)
        was = run["status"] if status else None
        if status:
            run["status"] = status
            run["ended_at"] = applying.at if status in ENDED else None
        if "stats" in applying.command:
            run["stats"] = applying.command["stats"]
        times = {name: run[name] for name in ("started_at", "ended_at")}
        stats = applying.command.get("stats")
        self._enter(applying, "graph.updated", was=was, status=status, stats=stats, **times)
        if status in ENDED:
            self._fail_running_steps(applying, {"error": f"graph_execution_{status.lower()}"})

    def _fail_running_steps(self, applying: _Applying, error: dict[str, Json]) -> None:
        for step_id, step in self._steps[applying.command["graph_exec_id"]].items():
            if step["status"] == "RUNNING":
                self._move_step(applying, step_id, "FAILED", stats=(step["stats"] or {}) | error)

    def _share(self, applying: _Applying) -> None:
        is_shared = applying.command["is_shared"]
        change = {"is_shared": is_shared, "shared_at": applying.at if is_shared else None}
        token_hash = applying.command["share_token_hash"] if is_shared else None
        self._run(applying).update(change, share_token_hash=token_hash)
        self._enter(applying, "graph.shared", **change)

    def _delete(self, applying: _Applying) -> None:
        run_id = applying.command["graph_exec_id"]
        run = self._run(applying)
        run["is_deleted"] = True
        is_hard = applying.command.get("hard", False)
        if is_hard:
            self._erased.add(run_id)
            self._steps[run_id] = {}
            self._applied[_scope(applying.command)] = set()
            self.journal[run_id] = []
            others = ("attributes", "stats", "share_token_hash", "shared_at")
            run.update(dict.fromkeys((*BROUGHT, *others)))
            run["is_shared"] = False
        self._enter(applying, "graph.deleted", hard=is_hard)

    def _input(self, applying: _Applying) -> None:
        command = applying.command
        steps = self._steps[command["graph_exec_id"]]
        step_id = command.get("node_exec_id") or open_step(command, steps)
        if step_id is None:
            step_id = new_step_id(command)
            self._add_step(applying, step_id, command, "INCOMPLETE")
        self._add_input(applying, step_id, command["input_name"], command["input_data"])

    def _add_step(self, applying: _Applying, step_id: str, node: Row, status: str) -> None:
        run = self._run(applying)
        step = new_step(run, step_id, node, status, applying.at)
        self._steps[run["id"]][step_id] = step
        self._enter_step(applying, "node.added", step_id, status=status)

    def _add_input(self, applying: _Applying, step_id: str, name: str, data: Json) -> None:
        self._steps[applying.command["graph_exec_id"]][step_id]["inputs"][name] = data
        self._enter_step(applying, "node.input_added", step_id, name=name, data=data)

    def _output(self, applying: _Applying) -> None:
        step_id = applying.command["node_exec_id"]
        pin, value = applying.command["output_name"], applying.command["output_data"]
        self._steps[applying.command["graph_exec_id"]][step_id]["outputs"].append((pin, value))
        self._enter_step(applying, "node.output_added", step_id, name=pin, data=value)

    def _update_step(self, applying: _Applying) -> None:
        command = applying.command
        data, stats = command.get("execution_data"), command.get("stats")
        self._move_step(applying, command["node_exec_id"], command["status"], data, stats)

    def _update_steps(self, applying: _Applying) -> None:
        command = applying.command
        movable, _ = parted(command, self._steps[command["graph_exec_id"]])
        for step_id in movable:
            self._move_step(applying, step_id, command["status"], stats=command.get("stats"))

    def _move_step(
        self,
        applying: _Applying,
        step_id: str,
        status: str,
        execution_data: dict[str, Json] | None = None,
        stats: dict[str, Json] | None = None,
    ) -> None:
        step = self._steps[applying.command["graph_exec_id"]][step_id]
        change = {"status": status, "execution_data": execution_data, "stats": stats}
        was = step["status"]
        step.update(without_nulls(change))
        if status in _STAMP_OF:
            step[_STAMP_OF[status]] = applying.at
        self._enter_step(applying, "node.updated", step_id, was=was, **change)

    def _set_kv(self, applying: _Applying) -> None:
        command = applying.command
        row = {name: command[name] for name in ("user_id", "key", "node_exec_id", "data")}
        self.kv[command["user_id"], command["key"]] = row | {"updated_at": applying.at}
        entry = row | {"at": applying.at, "command_id": command["id"]}
        place = {"source_partition": applying.partition, "source_offset": applying.offset}
        self.kv_journal.append(entry | place)
        self._emit(applying, {"type": "kv.changed"} | entry)

    def _run(self, applying: _Applying) -> Row:
        return self.runs[applying.command["graph_exec_id"]]

    def _enter_step(self, applying: _Applying, kind: str, step_id: str, **fields: Json) -> None:
        step = self._steps[applying.command["graph_exec_id"]][step_id]
        about: Row = {name: step[name] for name in ("node_id", "block_id")}
        if kind in ("node.added", "node.updated"):
            about |= {name: step[name] for name in _STEP_TIMES}
        self._enter(applying, kind, node_exec_id=step_id, **about, **fields)

    def _enter(self, applying: _Applying, kind: str, **fields: Json) -> None:
        """One more journal entry and event of the run; absent and None fields are the same."""
        run = self._run(applying)
        run["last_seq"] += 1
        run["updated_at"] = applying.at
        common = {
            "seq": run["last_seq"],
            "at": applying.at,
            "command_id": applying.command["id"],
            "type": kind,
        }
        columns = ("node_exec_id", "name", "data", "detail", "was", "status")
        place = {
            "source_partition": applying.partition,
            "source_offset": applying.offset,
            "source_index": applying.index,
        }
        entry = {"graph_exec_id": run["id"], "seq": run["last_seq"], "run_day": run_day(run)}
        entry |= common | {column: fields.get(column) for column in columns} | place
        self.journal[run["id"]].append(entry)
        owner = {name: run[name] for name in ("graph_id", "graph_version", "user_id", "dry_run")}
        owner["skewed"] = applying.skewed
        self._emit(applying, common | {"graph_exec_id": run["id"]} | owner | fields)
        applying.index += 1


def _scope(command: Command) -> str:
    """The scope of a unique command id. A user may be called like a run: keep them apart."""
    return f"{'user' if command['type'] == 'kv.set' else 'run'}/{key_of(command)}"


def _run_id_of(command: Command) -> str | None:
    """`kv.set` has none, whatever extra field it carries."""
    return None if command["type"] == "kv.set" else command["graph_exec_id"]
