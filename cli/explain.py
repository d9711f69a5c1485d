"""`execstream explain`: the story of a run, or of one command, in sentences."""

from datetime import datetime
from typing import Annotated, Any

import asyncpg
import msgspec
from cyclopts import Parameter

from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.show import NoSuchRun
from execstream.cli.terminal import Block, Text, out
from execstream.config.settings import Settings
from execstream.recovery.explain.command_story import (
    Known,
    Paragraph,
    command_story,
    find_command,
)
from execstream.recovery.explain.record import Sent, find_record
from execstream.storage.story.evidence import Evidence, gather
from execstream.storage.story.run_story import Line, run_story, summary
from execstream.streams.errors import NOT_READABLE, Fatal
from execstream.streams.topics import COMMANDS

MOST_SHOWN = 4_000  # characters of a record
_STYLES = {"refused": "yellow", "dead": "red", "quarantined": "red"}


class NoSuchCommand(Fatal):
    """Nothing is recorded of a command of that id."""


async def explain(
    graph_exec_id: Annotated[str, Parameter(name="GRAPH_EXEC_ID")],
    command_id: Annotated[str | None, Parameter(name="COMMAND_ID")] = None,
    /,
    *,
    json: Json = False,
) -> None:
    """Explain a run, or one command: its request, the state it met, the decision and its effects.

    Parameters
    ----------
    command_id
        Only the outcome of this command; its record is shown while the topic keeps it.
    """
    settings = start()
    topic = settings.topic_prefix + COMMANDS.name
    async with opened(settings) as db:
        evidence = await gather(db, topic, graph_exec_id)
        if evidence.run is None and not evidence.refusals and not evidence.letters:
            raise NoSuchRun(f"Nothing was ever recorded of a run {graph_exec_id}.")
        if command_id is None:
            _print_run(evidence, json=json)
        else:
            known = await _known(db, evidence, command_id)
            await _print_command(settings, topic, evidence, known, json=json)


def _print_run(evidence: Evidence, *, json: bool) -> None:
    lines = run_story(evidence)
    if json:
        document = {"graph_exec_id": evidence.run_id, "summary": summary(evidence)}
        print_json(document | {"lines": [_as_json(line) for line in lines]})
        return
    out.print(summary(evidence), soft_wrap=True)
    rows = table("when", "entries", "what")
    rows.columns[-1].no_wrap = False
    begun = lines[0].at if lines else None
    for line in lines:
        style = _STYLES.get(line.outcome, "")
        rows.add_row(_since(begun, line.at), _entries(line), Text(line.text, style))
    out.print(rows)


def _as_json(line: Line) -> dict[str, Any]:
    return line._asdict() | {"at": line.at.isoformat().replace("+00:00", "Z")}


def _since(begun: datetime | None, at: datetime) -> str:
    """The first line's time, else how long after it."""
    if begun is None or at == begun:
        return f"{at:%Y-%m-%d %H:%M:%S}"
    return f"{(at - begun).total_seconds():+,.1f} s"


def _entries(line: Line) -> str:
    if line.seq is None:
        return line.outcome
    first, last = line.seq
    return str(first) if first == last else f"{first}-{last}"


async def _known(db: asyncpg.Pool, evidence: Evidence, command_id: str) -> Known:
    known = await find_command(db, evidence, command_id)
    if known is None:
        raise NoSuchCommand(
            f"Nothing is recorded of command {command_id} of run {evidence.run_id}: "
            f"`execstream explain {evidence.run_id}` lists those that arrived."
        )
    return known


async def _print_command(
    settings: Settings, topic: str, evidence: Evidence, known: Known, *, json: bool
) -> None:
    sent = await find_record(settings.kafka, topic, known.place, known.command_id)
    story = command_story(evidence, known, sent)
    if json:
        document = {
            "graph_exec_id": evidence.run_id,
            "command_id": known.command_id,
            "place": known.place,
        }
        print_json(document | {"story": dict(_grouped(story)), "record": _text(sent)})
        return
    for about, text in story:
        out.print(Text.assemble((f"{about:<9}", "dim"), text), soft_wrap=True)
    if sent.value is not None:
        out.print()
        out.print(Block(_pretty(sent.value)[:MOST_SHOWN]), soft_wrap=True)


def _grouped(story: list[Paragraph]) -> dict[str, list[str]]:
    document: dict[str, list[str]] = {}
    for about, text in story:
        document.setdefault(about, []).append(text)
    return document


def _text(sent: Sent) -> str | None:
    return None if sent.value is None else sent.value.decode(errors="replace")


def _pretty(value: bytes) -> str:
    try:
        return msgspec.json.format(value, indent=2).decode()
    except NOT_READABLE:
        return value.decode(errors="replace")
