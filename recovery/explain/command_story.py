"""The explanation of one command: request, state found, rule, outcome, and consequences."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import asyncpg

from execstream.recovery.explain.record import Sent, id_in
from execstream.storage.querying import parse_id
from execstream.storage.schema.tables import DEAD_LETTERS, REFUSALS
from execstream.storage.story.evidence import (
    DeadOne,
    Evidence,
    Happened,
    RecordPosition,
    RefusedOne,
    telling,
)
from execstream.storage.story.sentences import (
    asked,
    counted,
    happened,
    listed,
    moves,
    rule,
    step_name,
    why_dead,
)
from execstream.streams.commands import Command
from execstream.streams.decoding import asks, decode
from execstream.streams.journal import EntryType
from execstream.streams.outcomes import Applied, Dead, Outcome, Refused, reply
from execstream.streams.statuses import ExecutionStatus

_VALUE = "select value from dead_letter where id = $1"

MOST_ENTRIES = 20  # that are listed one by one


class Known(NamedTuple):
    """The records of a command in Postgres; it may have been refused first and applied later."""

    command_id: str
    entries: list[Happened]
    refusals: list[RefusedOne]
    letters: list[DeadOne]

    @property
    def place(self) -> RecordPosition:
        """The position of its first record."""
        places = [one.place for one in self.entries]
        places += [one.place for one in self.refusals]
        return min([*places, *(one.place for one in self.letters)])


class Paragraph(NamedTuple):
    """`about`: asked, found, rule, outcome, followed, again or reply."""

    about: str
    text: str


async def find_command(db: asyncpg.Pool, evidence: Evidence, command_id: str) -> Known | None:
    """Return the records of the command; None when there are none."""
    known = Known(
        command_id,
        [one for one in evidence.entries if one.command_id == command_id],
        [one for one in evidence.refusals if one.command_id == command_id],
        [  # one value at a time, which may be of megabytes
            one
            for one in evidence.letters
            if id_in(await db.fetchval(_VALUE, parse_id(one.id))) == command_id
        ],
    )
    return known if known.entries or known.refusals or known.letters else None


def command_story(evidence: Evidence, known: Known, sent: Sent) -> list[Paragraph]:
    """The explanation of a command; parts that the topic no longer keeps are named as missing.
    Raises UnreadableRun.
    """
    # A record understood once may be beyond a bound of today.
    bounded = bool(known.letters)
    key = evidence.run_id.encode()
    judged = None if sent.value is None else decode(key, sent.value, bounded=bounded)
    command = judged if isinstance(judged, Command) else None
    return [
        Paragraph(about, text)
        for about, text in (
            ("asked", _asked(evidence, known, command, sent)),
            ("found", _found(evidence, known, command)),
            *(("rule", text) for text in _rules(evidence.run_id, known)),
            *(("outcome", text) for text in _outcomes(evidence, known)),
            ("followed", _followed(evidence, known)),
            ("again", _again(sent)),
            ("reply", _reply(known, judged, sent)),
        )
        if text
    ]


def _asked(evidence: Evidence, known: Known, command: Command | None, sent: Sent) -> str:
    partition, offset = known.place
    where = f"record {offset} of partition {partition} of the commands topic"
    if command is not None:
        what = asked(command, evidence.steps)
        return f"{command.user_id} asked {what}: {command.type} at {_time(command.time)}, {where}."
    if known.letters:
        return f"A record came that was no command: {where}."
    kind = f" {known.refusals[0].command_type}" if known.refusals else ""
    owner = known.refusals[0].user_id if known.refusals else (evidence.run or {})["user_id"]
    kept = "cannot be read as a command" if sent.value else "is no longer kept"
    return f"{owner} sent a command{kind}, {where}; the record itself {kept}."


def _found(evidence: Evidence, known: Known, command: Command | None) -> str:
    before = [one for one in evidence.entries if one.place < known.place]
    if not before:
        return "There was no such run yet."
    status = _status(before, None)
    text = f"The run was {status}, at entry {before[-1].seq}"
    step_id = getattr(command, "node_exec_id", None) or _only_step(known)
    if step_id is None:
        return f"{text}."
    was = _status(before, step_id)
    return (
        f"{text}; {step_name(evidence.steps, step_id)} {f'was {was}' if was else 'was not there'}."
    )


def _only_step(known: Known) -> str | None:
    steps = {one.node_exec_id for one in known.entries}
    return steps.pop() if len(steps) == 1 else None


def _status(entries: list[Happened], step_id: str | None) -> ExecutionStatus | None:
    found = [one.status for one in entries if one.node_exec_id == step_id and one.status]
    return found[-1] if found else None


def _rules(run_id: str, known: Known) -> Iterator[str]:
    for one in known.refusals:
        with telling(run_id, REFUSALS):
            yield rule(one.reason, one.detail)
    moved = next((one for one in known.entries if one.was and one.status), None)
    if moved is not None and moved.was:
        yield f"{moves(moved.was)}; {moved.status} is among that."


def _outcomes(evidence: Evidence, known: Known) -> Iterator[str]:
    for letter in known.letters:
        with telling(evidence.run_id, DEAD_LETTERS):
            why = why_dead(Dead(letter.reason, dict(letter.detail)))
        yield f"Dead: {why}. It is kept as dead letter {letter.id}."
    for refusal in known.refusals:
        yield f"Refused, {refusal.reason}: nothing changed."
    if known.entries:
        sentences = [happened(one, evidence.steps) for one in known.entries[:MOST_ENTRIES]]
        more = len(known.entries) - len(sentences)
        sentences += [f"{more:,} entries more"] if more else []
        first, last = known.entries[0].seq, known.entries[-1].seq
        where = f"entry {first}" if first == last else f"entries {first} to {last}"
        yield f"Applied as {where}: {'; '.join(sentences)}."


def _followed(evidence: Evidence, known: Known) -> str:
    own = {one.seq for one in known.entries}
    place = known.entries[-1].place if known.entries else known.place
    later = [one for one in evidence.entries if one.place > place and one.seq not in own]
    cascade = [one for one in known.entries if _is_cascade(one, known)]
    because = (
        f"The end of the run failed {counted(len(cascade), 'step')} that still ran. "
        if cascade
        else ""
    )
    if not later:
        return f"{because}Nothing has happened to the run since."
    first = later[0]
    return f"{because}Next, at {_time(first.at)}, {happened(first, evidence.steps)}."


def _is_cascade(entry: Happened, known: Known) -> bool:
    first = known.entries[0]
    return first.type is EntryType.GRAPH_UPDATED and entry.type is EntryType.NODE_UPDATED


def _again(sent: Sent) -> str:
    if not sent.again:
        return ""
    places = listed((f"{partition}:{offset}" for partition, offset in sent.again), "and")
    return (
        f"It was sent again {counted(len(sent.again), 'time')}, at {places}. Sent again, an "
        "applied command is a duplicate without a second effect; a refused one is judged afresh."
    )


def _reply(known: Known, judged: Command | Dead | None, sent: Sent) -> str:
    """The reply sent; whether Redis took it is not recorded."""
    reply_to = judged.reply_to if isinstance(judged, Command) else None
    if isinstance(judged, Dead) and (asking := asks(sent.value, judged)):
        reply_to, _ = asking
    if reply_to is None:
        return ""
    sent_reply = reply(known.command_id, _first_outcome(known))
    fields = ", ".join(
        f"{name} {value}" for name, value in sent_reply.items() if name != "command_id"
    )
    return f"It asked for the outcome on the channel execution_reply/{reply_to}: {fields}."


def _first_outcome(known: Known) -> Outcome:
    if known.letters and known.letters[0].place == known.place:
        letter = known.letters[0]
        return Dead(letter.reason, dict(letter.detail))
    if known.refusals and known.refusals[0].place == known.place:
        refusal = known.refusals[0]
        return Refused(refusal.reason, dict(refusal.detail))
    first, last = known.entries[0], known.entries[-1]
    if first.skipped is None:
        return Applied(first.seq, last.seq, first.node_exec_id)
    return Applied(first.seq, last.seq, None, len(known.entries), dict(first.skipped))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
