"""The dictionary machine: raw records in, rows, journal, refusals, dead letters, events out."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from execstream.workload.reference.checks import (
    RefusedError,
    check,
    new_step_id,
    open_step,
    parted,
    starting_ids,
)
from execstream.workload.reference.reading import (
    Command,
    DeadError,
    Json,
    has_unstorable_number,
    key_of,
    read,
    without_nulls,
)
from execstream.workload.reference.rows import BROUGHT, Row, new_run, new_step

ENDED = frozenset({"COMPLETED", "FAILED", "TERMINATED"})
_STEP_TIMES = ("added_time", "queued_time", "started_time", "ended_time")
_STAMP_OF = {
    "QUEUED": "queued_time",
    "RUNNING": "started_time",
    "COMPLETED": "ended_time",
    "FAILED": "ended_time",
}


class Outcome(NamedTuple):
    """What became of a record: `applied`, `duplicate`, `refused` or `dead`, and why."""

    kind: str
    reason: str | None = None
    detail: dict[str, Json] | str | None = None


@dataclass
class _Told:
    """A command being applied, its place, and how many events it has given so far."""

    command: Command
    partition: int
    offset: int
    index: int = 0

    @property
    def at(self) -> datetime:
        at: datetime = self.command["at"]
        return at


class Reference:
    """Everything that must be in Postgres and on the events topic after the records fed so far.

    Rows are dictionaries with the columns of contract §5 and times as `datetime` in UTC.
    `steps` is keyed by (run id, step id). A step row also holds its `inputs` and `outputs` as
    (pin → value) and a list of (pin, value). The journal has no `detail` column here.
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

    def feed(self, partition: int, offset: int, key: bytes | None, value: bytes | None) -> Outcome:
        """Take the next record of a partition."""
        try:
            told = _Told(read(key, value, self.max_command_bytes), partition, offset)
            outcome = self._judge(told)
        except DeadError as dead:
            outcome = Outcome("dead", dead.reason, dead.detail)
            letter = {"partition": partition, "offset": offset, "key": key, "value": value}
            self.dead_letters.append(letter | {"reason": dead.reason, "detail": dead.detail})
        self.counts[outcome.kind] += 1
        return outcome

    def _judge(self, told: _Told) -> Outcome:
        try:
            if self._was_applied(told):
                return Outcome("duplicate")
            self._check(told)
        except RefusedError as refused:
            self._refuse(told, refused)
            return Outcome("refused", refused.reason, refused.detail)
        if has_unstorable_number(told.command):
            raise DeadError("not_storable", "22003")
        self._apply(told)
        self._applied[_scope(told.command)].add(told.command["id"])
        return Outcome("applied")

    def _was_applied(self, told: _Told) -> bool:
        """Also raises the reasons that are told before `duplicate`."""
        command = told.command
        if command["type"] != "kv.set":
            run = self.runs.get(command["graph_exec_id"])
            if run is None and command["type"] != "graph.create":
                raise RefusedError("unknown_graph_execution")
            if run is not None and run["source_partition"] != told.partition:
                raise DeadError("wrong_partition", f"the run is on {run['source_partition']}")
            if run is not None and run["user_id"] != command["user_id"]:
                raise RefusedError("wrong_owner")
        return command["id"] in self._applied[_scope(command)]

    def _check(self, told: _Told) -> None:
        command = told.command
        if command["type"] == "kv.set":
            stored = self.kv.get((command["user_id"], command["key"]))
            if stored is not None and told.at < stored["updated_at"]:
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

    def _refuse(self, told: _Told, refused: RefusedError) -> None:
        command = told.command
        about = {
            "command_id": command["id"],
            "graph_exec_id": _run_id_of(command),
            "user_id": command["user_id"],
            "command_type": command["type"],
            "reason": refused.reason,
            "detail": refused.detail,
            "at": told.at,
        }
        place = {"source_partition": told.partition, "source_offset": told.offset}
        self.refusals.append(place | about)
        self._say(told, {"type": "command.refused"} | about)

    def _say(self, told: _Told, event: dict[str, Json]) -> None:
        event["source"] = [told.partition, told.offset, told.index]
        self._events[told.partition].append(without_nulls(event))

    def _apply(self, told: _Told) -> None:  # noqa: C901 - one case per command type
        match told.command["type"]:
            case "graph.create":
                self._create(told)
            case "graph.start":
                self._start(told)
            case "graph.update":
                self._update(told)
            case "graph.share":
                self._share(told)
            case "graph.delete":
                self._delete(told)
            case "node.input":
                self._input(told)
            case "node.output":
                self._output(told)
            case "node.update":
                self._update_step(told)
            case "node.update_many":
                self._update_steps(told)
            case "kv.set":
                self._set_kv(told)

    def _create(self, told: _Told) -> None:
        command = told.command
        run_id = command["graph_exec_id"]
        self.runs[run_id] = run = new_run(command, told.partition)
        self.journal[run_id] = []
        self._steps[run_id] = {}
        brought = {name: run[name] for name in (*BROUGHT, "preset_id", "parent_graph_exec_id")}
        self._enter(told, "graph.created", status="INCOMPLETE", **brought)
        for node, step_id in zip(command["starting_nodes"], starting_ids(command), strict=True):
            self._add_step(told, step_id, node, "QUEUED")
            for name, data in node["inputs"].items():
                self._add_input(told, step_id, name, data)

    def _start(self, told: _Told) -> None:
        self._run(told)["started_at"] = told.at
        self._move_run(told, "RUNNING")

    def _update(self, told: _Told) -> None:
        run = self._run(told)
        if told.command.get("status") == "RUNNING" and run["started_at"] is None:
            run["started_at"] = told.at
        self._move_run(told, told.command.get("status"))

    def _move_run(self, told: _Told, status: str | None) -> None:
        run = self._run(told)
        was = run["status"] if status else None
        if status:
            run["status"] = status
            run["ended_at"] = told.at if status in ENDED else None
        if "stats" in told.command:
            run["stats"] = told.command["stats"]
        times = {name: run[name] for name in ("started_at", "ended_at")}
        stats = told.command.get("stats")
        self._enter(told, "graph.updated", was=was, status=status, stats=stats, **times)
        if status in ENDED:
            self._fail_running_steps(told, {"error": f"graph_execution_{status.lower()}"})

    def _fail_running_steps(self, told: _Told, error: dict[str, Json]) -> None:
        for step_id, step in self._steps[told.command["graph_exec_id"]].items():
            if step["status"] == "RUNNING":
                self._move_step(told, step_id, "FAILED", stats=(step["stats"] or {}) | error)

    def _share(self, told: _Told) -> None:
        is_shared = told.command["is_shared"]
        change = {"is_shared": is_shared, "shared_at": told.at if is_shared else None}
        token_hash = told.command["share_token_hash"] if is_shared else None
        self._run(told).update(change, share_token_hash=token_hash)
        self._enter(told, "graph.shared", **change)

    def _delete(self, told: _Told) -> None:
        run_id = told.command["graph_exec_id"]
        run = self._run(told)
        run["is_deleted"] = True
        is_hard = told.command.get("hard", False)
        if is_hard:
            self._erased.add(run_id)
            self._steps[run_id] = {}
            self._applied[_scope(told.command)] = set()
            self.journal[run_id] = []
            run.update(dict.fromkeys((*BROUGHT, "stats", "share_token_hash", "shared_at")))
            run["is_shared"] = False
        self._enter(told, "graph.deleted", hard=is_hard)

    def _input(self, told: _Told) -> None:
        command = told.command
        steps = self._steps[command["graph_exec_id"]]
        step_id = command.get("node_exec_id") or open_step(command, steps)
        if step_id is None:
            step_id = new_step_id(command)
            self._add_step(told, step_id, command, "INCOMPLETE")
        self._add_input(told, step_id, command["input_name"], command["input_data"])

    def _add_step(self, told: _Told, step_id: str, node: Row, status: str) -> None:
        run = self._run(told)
        step = new_step(run, step_id, node, status, told.at)
        self._steps[run["id"]][step_id] = step
        self._enter_step(told, "node.added", step_id, status=status)

    def _add_input(self, told: _Told, step_id: str, name: str, data: Json) -> None:
        self._steps[told.command["graph_exec_id"]][step_id]["inputs"][name] = data
        self._enter_step(told, "node.input_added", step_id, name=name, data=data)

    def _output(self, told: _Told) -> None:
        step_id = told.command["node_exec_id"]
        pin, value = told.command["output_name"], told.command["output_data"]
        self._steps[told.command["graph_exec_id"]][step_id]["outputs"].append((pin, value))
        self._enter_step(told, "node.output_added", step_id, name=pin, data=value)

    def _update_step(self, told: _Told) -> None:
        command = told.command
        data, stats = command.get("execution_data"), command.get("stats")
        self._move_step(told, command["node_exec_id"], command["status"], data, stats)

    def _update_steps(self, told: _Told) -> None:
        command = told.command
        movable, _ = parted(command, self._steps[command["graph_exec_id"]])
        for step_id in movable:
            self._move_step(told, step_id, command["status"], stats=command.get("stats"))

    def _move_step(
        self,
        told: _Told,
        step_id: str,
        status: str,
        execution_data: dict[str, Json] | None = None,
        stats: dict[str, Json] | None = None,
    ) -> None:
        step = self._steps[told.command["graph_exec_id"]][step_id]
        change = {"status": status, "execution_data": execution_data, "stats": stats}
        was = step["status"]
        step.update(without_nulls(change))
        if status in _STAMP_OF:
            step[_STAMP_OF[status]] = told.at
        self._enter_step(told, "node.updated", step_id, was=was, **change)

    def _set_kv(self, told: _Told) -> None:
        command = told.command
        row = {name: command[name] for name in ("user_id", "key", "node_exec_id", "data")}
        self.kv[command["user_id"], command["key"]] = row | {"updated_at": told.at}
        entry = row | {"at": told.at, "command_id": command["id"]}
        place = {"source_partition": told.partition, "source_offset": told.offset}
        self.kv_journal.append(entry | place)
        self._say(told, {"type": "kv.changed"} | entry)

    def _run(self, told: _Told) -> Row:
        return self.runs[told.command["graph_exec_id"]]

    def _enter_step(self, told: _Told, kind: str, step_id: str, **fields: Json) -> None:
        step = self._steps[told.command["graph_exec_id"]][step_id]
        about: Row = {name: step[name] for name in ("node_id", "block_id")}
        if kind in ("node.added", "node.updated"):
            about |= {name: step[name] for name in _STEP_TIMES}
        self._enter(told, kind, node_exec_id=step_id, **about, **fields)

    def _enter(self, told: _Told, kind: str, **fields: Json) -> None:
        """One more journal entry and event of the run; absent and None fields are the same."""
        run = self._run(told)
        run["last_seq"] += 1
        run["updated_at"] = told.at
        common = {
            "seq": run["last_seq"],
            "at": told.at,
            "command_id": told.command["id"],
            "type": kind,
        }
        columns = ("node_exec_id", "name", "data", "was", "status")
        place = {
            "source_partition": told.partition,
            "source_offset": told.offset,
            "source_index": told.index,
        }
        entry = common | {column: fields.get(column) for column in columns} | place
        self.journal[run["id"]].append(entry)
        owner = {name: run[name] for name in ("graph_id", "graph_version", "user_id", "dry_run")}
        self._say(told, common | {"graph_exec_id": run["id"]} | owner | fields)
        told.index += 1


def _scope(command: Command) -> str:
    """What a command id must be unique in. A user may be called like a run: keep them apart."""
    return f"{'user' if command['type'] == 'kv.set' else 'run'}/{key_of(command)}"


def _run_id_of(command: Command) -> str | None:
    """`kv.set` has none, whatever extra field it carries."""
    return None if command["type"] == "kv.set" else command["graph_exec_id"]
