"""Write the generated parts of the manuals: tables and diagrams made from the code, and schemas.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->` in its page. `make docs` writes
all parts and files, and a test fails when one is stale.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase
from pydantic.fields import FieldInfo

from bench import report
from docs import fault_table
from docs.asyncapi import asyncapi
from docs.figures import figures_table
from docs.reference_tables import cli_reference, http_reference, problem_types, python_reference
from docs.sql_comments import relations
from execstream.agents.runtime import metrics as worker_metrics
from execstream.cli.common import indented_json
from execstream.cli.schema import CONTRACTS
from execstream.config.settings import Settings, variable
from execstream.dashboard import metrics as server_metrics
from execstream.dashboard import minute_metrics
from execstream.dashboard.reads.minute_figures import BUDGETS_FOR, KEPT_FOR, SETTLED_FOR
from execstream.kafka import acls
from execstream.streams import attributes, commands
from execstream.streams.statuses import (
    ALLOWED_FROM,
    ENDED,
    FINAL,
    ExecutionStatus,
    allowed_from,
    is_allowed,
)

DOCS = Path(__file__).parent
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def settings_table() -> Iterator[str]:
    yield "| variable | default | meaning |"
    yield "| --- | --- | --- |"
    for name, field in Settings.model_fields.items():
        meaning = f"{field.description}{_limits(field)}"
        yield f"| `{variable(name)}` | {_default(field.default)} | {meaning} |"


def _limits(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return f" (one of {', '.join(get_args(field.annotation))})"
    least = [limit.ge for limit in field.metadata if hasattr(limit, "ge")]
    return f" (at least {least[0]:,})" if least else ""


def _default(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, int):
        return str(value)
    return f"`{value}`" if value else "empty"


def metrics_table(module: ModuleType) -> Iterator[str]:
    yield "| name | kind | labels | meaning |"
    yield "| --- | --- | --- | --- |"
    for metric in vars(module).values():
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            name = family.name + ("_total" if isinstance(metric, Counter) else "")
            labels = metric._labelnames  # noqa: SLF001 - no public attribute has them
            labelled = ", ".join(f"`{label}`" for label in labels)
            yield f"| `{name}` | {family.type} | {labelled} | {family.documentation} |"


_SPANS = {
    "counter": "since the process began",
    "histogram": "the same",
    "gauge": "now",
    "info": "now",
}


def metric_figures_table() -> Iterator[str]:
    yield "| metric | window | source | greatest delay |"
    yield "| --- | --- | --- | --- |"
    for source, module in (("the worker", worker_metrics), ("the HTTP server", server_metrics)):
        for row in list(metrics_table(module))[2:]:
            name, kind = (cell.strip() for cell in row.split("|")[1:3])
            yield _row(name, _SPANS[kind], f"memory of {source}", "none")
    settled = f"the newest minute that is over since {SETTLED_FOR} s"
    for row in list(metrics_table(minute_metrics))[2:]:
        name = row.split("|")[1].strip()
        if "budget" in name:
            yield _row(name, "now", "`spending`", f"{BUDGETS_FOR:g} s")
        else:
            yield _row(name, settled, "totals of the tally", f"{KEPT_FOR:g} s")


_FORMS: dict[object, str] = {
    bool: "true or false",
    int: "integer",
    commands.Document: "object",
    commands.Name: "id",
    commands.Pin: "pin",
    commands.TokenHash: "SHA-256 as 64 lower-case hex digits",
    commands.Time: "time",
    commands.Uuid: "UUID",
    commands.Version: f"integer from 1 to {2**31 - 1:,}",
    ExecutionStatus: "status",
    msgspec.Raw: "any JSON",
    dict[commands.Pin, msgspec.Raw]: "object: any JSON by pin",
}


def command_fields() -> Iterator[str]:
    common = {field.name for field in msgspec.structs.fields(commands.Command)}
    yield _row("type", "field", "form")
    yield _row(*["---"] * 3)
    yield _row("every command", "`type`", "one of those below")
    yield from _fields("every command", commands.Command, set())
    for type_, command in commands.COMMAND_TYPES.items():
        yield from _fields(f"`{type_}`", command, common)
    yield from _fields("one of `starting_nodes`", commands.StartingNode, set())


def _fields(owner: str, struct: type[msgspec.Struct], left_out: set[str]) -> Iterator[str]:
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        if field.name not in left_out:
            mark = "" if field.required else "?"
            form = _form(struct, field.name, hints[field.name])
            yield _row(owner, f"`{field.encode_name}`{mark}", form)


def _form(struct: type[msgspec.Struct], name: str, hint: object) -> str:
    match struct, name:
        case commands.CreateGraph, "starting_nodes":
            return "list, which may be empty"
        case commands.CreateGraph, "attributes":
            values = f"strings of up to {attributes.MAX_VALUE} characters"
            return f"object of up to {attributes.MAX_ATTRIBUTES} ids with {values}"
        case commands.UpdateNodes, "node_exec_ids":
            return f"list of 1 to {commands.MAX_BATCH_OF_STEPS:,} UUIDs"
        case commands.SetKeyValue, "name":
            return "string of up to 512 characters"
        case commands.Command, "v":
            return "1"
    if hint not in _FORMS:  # without the null that means the same as nothing
        (hint,) = [one for one in get_args(hint) if one is not type(None)]
    return _FORMS[hint]


def state_diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {ExecutionStatus.INCOMPLETE}"
    yield f"    [*] --> {ExecutionStatus.QUEUED}: starting step"
    for was in ExecutionStatus:
        for to in ExecutionStatus:
            if is_allowed(was, to):
                yield f"    {was} --> {to}"
    for status in ExecutionStatus:
        if status in FINAL:
            yield f"    {status} --> [*]"
    yield "```"


def moves_table() -> Iterator[str]:
    yield _row("from ↓ to →", *ALLOWED_FROM)
    yield _row(*["---"] * (1 + len(ALLOWED_FROM)))
    for was in ExecutionStatus:
        yield _row(was, *("yes" if is_allowed(was, to) else "" for to in ALLOWED_FROM))


def moves_as_sentences() -> Iterator[str]:
    for to in ALLOWED_FROM:
        yield f"* to become {to} it must be {_listed(allowed_from(to))}"


def consequences() -> Iterator[str]:
    yield f"* Nothing leads out of {_listed(FINAL)}."
    yield f"* A run that becomes {_listed(ENDED)} is over: its `ended_at` is set, and"
    yield "  its RUNNING steps become FAILED in the same transaction."
    yield f"* A run or step that is {_listed(ENDED - FINAL)} can go on; the run's `ended_at` is"
    yield "  cleared then."


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(statuses: Iterable[ExecutionStatus]) -> str:
    """Join in the order of the enum: `A, B or C`."""
    wanted = set(statuses)
    *others, last = [status for status in ExecutionStatus if status in wanted]
    return f"{', '.join(others)} or {last}" if others else last


PAGES = (
    "faults.md",
    "figures.md",
    "metrics.md",
    "performance.md",
    "producing.md",
    "reference/cli.md",
    "reference/errors.md",
    "reference/http.md",
    "reference/python.md",
    "settings.md",
    "sql.md",
    "state_machine.md",
)
PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings_table,
    "command_fields": command_fields,
    "worker_metrics": partial(metrics_table, worker_metrics),
    "server_metrics": partial(metrics_table, server_metrics),
    "minute_metrics": partial(metrics_table, minute_metrics),
    "figures": figures_table,
    "metric_figures": metric_figures_table,
    "state_diagram": state_diagram,
    "moves": moves_table,
    "moves_as_sentences": moves_as_sentences,
    "consequences": consequences,
    "cli": cli_reference,
    "http": http_reference,
    "python": python_reference,
    "problem_types": problem_types,
    "sql_views": partial(relations, "view"),
    "sql_tables": partial(relations, "table"),
    "bench_comparison": report.comparison_table,
    "bench_aims": report.aims_table,
    "bench_latency": report.latency_table,
    "bench_sizing": report.sizing,
    "bench_growth": report.growth_table,
    "bench_readers": report.readers_table,
    "bench_replay": report.replay_table,
    "bench_idle": report.idle_table,
    "faults_short": partial(fault_table.round_table, "faults"),
    "faults_long": partial(fault_table.round_table, "faults-long"),
}

# Scripts in a folder of their own, by their file.
ACLS = DOCS.parent / "ops" / "kafka" / "acls"
SCRIPTS: dict[str, Callable[[], str]] = {
    f"{client.name.lower()}.sh": partial(acls.script, client) for client in acls.Client
}

# Files that are generated as a whole.
FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "asyncapi.json": asyncapi,
    **{
        f"schemas/{name}.json": partial(contract.document, name)
        for name, contract in CONTRACTS.items()
    },
}


def rendered(page: str) -> str:
    """Return the text of `page` with its parts as the code has them now."""

    def part(match: re.Match[str]) -> str:
        return match[1] + "\n".join(PARTS[match[2]]()) + match[3]

    return _PART.sub(part, (DOCS / page).read_text(encoding="utf-8"))


if __name__ == "__main__":
    for name in PAGES:
        (DOCS / name).write_text(rendered(name), encoding="utf-8")
    for name, document in FILES.items():
        (DOCS / name).write_text(indented_json(document()) + "\n", encoding="utf-8")
    ACLS.mkdir(parents=True, exist_ok=True)
    for name, text in SCRIPTS.items():
        (ACLS / name).write_text(text(), encoding="utf-8")
