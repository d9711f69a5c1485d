"""`execstream dlq`: look at dead letters, change them, and put them back."""

import asyncio
import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from execstream.cli.acts import record
from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import err, out
from execstream.cli.words import moment
from execstream.config.settings import Settings
from execstream.kafka.producer import Producer
from execstream.recovery.redrive import Receipt, Redriving, paced, unknown
from execstream.storage.access.audit_log import Act
from execstream.storage.log.dead_letters import (
    Filter,
    Found,
    find_letters,
    get_letter,
    newest_letters,
)
from execstream.streams.commands import Command, parse_time
from execstream.streams.errors import NOT_READABLE, Fatal
from execstream.streams.outcomes import DeadReason
from execstream.streams.progress import ProgressCallback
from execstream.streams.redriving import (
    Letter,
    NotEditable,
    NotKept,
    is_omitted,
    judge,
    not_kept,
    redriven,
    unread_offsets,
    with_fields,
)
from execstream.streams.topics import COMMANDS

MOST = 100_000  # letters that one command redrives

dlq = App(name="dlq", help="Dead letters: list, show, redrive.")

Since = Annotated[str | None, Parameter(help="Received at this time or later (RFC 3339).")]
Until = Annotated[str | None, Parameter(help="Received before this time.")]


class NoSuchLetter(Fatal):
    """No dead letter has that id."""


class NothingNamed(Fatal):
    """The command names no letters."""


class WrongOption(Fatal):
    """An option cannot be read."""


@dlq.command(name="list")
async def list_letters(
    *,
    reason: DeadReason | None = None,
    since: Since = None,
    until: Until = None,
    redriven: Annotated[bool | None, Parameter(negative="--not-redriven")] = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 25,
    json: Json = False,
) -> None:
    """List dead letters, newest first."""
    settings = start()
    wanted = Filter((), reason, _time(since), _time(until), redriven)
    async with opened(settings) as db:
        found, next_position = await newest_letters(db, wanted, limit, None)
    rows = table("dead letter", "received", "reason", "place", "bytes", "redriven", "key")
    for one in found:
        if json:
            print_json(_as_json(one.letter, one.bytes))
        rows.add_row(*_row(one))
    if not json:
        out.print(rows)
    if next_position is not None:
        err.print("There are more: raise --limit.")


@dlq.command
async def show(
    dead_letter_id: Annotated[str, Parameter(name="ID")], /, *, json: Json = False
) -> None:
    """Show one dead letter, and the result of redriving it now."""
    settings = start()
    async with opened(settings) as db:
        letter = await get_letter(db, dead_letter_id)
    if letter is None:
        raise _no_such([dead_letter_id])
    told = _as_json(letter, len(letter.value or b"")) | {
        "headers": [[name, _text(value)] for name, value in letter.headers],
        "value": _text(letter.value),
        "would_be": _would_be(letter, letter.value, settings),
    }
    if json:
        print_json(told)
        return
    for name, value in told.items():
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        out.print(f"{name:<14} {shown}", soft_wrap=True)


@dlq.command
async def redrive(
    ids: Annotated[list[str] | None, Parameter(name="ID", negative="")] = None,
    /,
    *,
    reason: DeadReason | None = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    editor: Annotated[bool, Parameter(negative="")] = False,
    rate: Annotated[float, Parameter(validator=Number(gte=0))] = 100.0,
    again: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Put dead letters back on the commands topic, and print the outcome of each.

    A letter is redriven once. Exit code 1 when one is dead again or its outcome is unknown.

    Parameters
    ----------
    ids
        Ids of letters; or name a reason or a time.
    dry_run
        Only print the outcome that each would have.
    set_
        Set a field first, as in status=FAILED or stats.cost=1; a value that is not JSON is a text.
    editor
        Change the value of each in $EDITOR first.
    rate
        Letters per second at most; 0: as fast as it goes.
    again
        Redrive those too that were redriven before.
    """
    if not (ids or reason or since or until):
        raise NothingNamed("Name them: their ids, --reason, --since or --until.")
    settings = start()
    wanted = Filter(tuple(ids or ()), reason, _time(since), _time(until))
    changes = dict(map(_change, set_ or ()))
    async with opened(settings) as db:
        chosen = await _chosen(db, wanted, again=again, can_do_without=editor)
        values = await _edited(db, chosen, changes, editor=editor)
        if dry_run:
            await _preview(db, chosen, values, settings, json=json)
            return 0
        receipts: list[Receipt] = []
        try:
            with counted(quiet=json) as report_progress:
                await _redrive(
                    db, settings, chosen, values, rate, report_progress, receipts, again=again
                )
        finally:
            _print_receipts(receipts, json=json)
            acts = (Act("dead_letter.redrive", one.id, one.outcome) for one in receipts)
            await record(settings, *acts)
    return int(any(one.outcome in ("dead", "unknown") for one in receipts))


async def _chosen(
    db: asyncpg.Pool, wanted: Filter, *, again: bool, can_do_without: bool = False
) -> list[str]:
    """Ids of the letters to redrive; prints which of the named ones were redriven already. Those
    without a kept value are left out, or refused when they are named, unless it is possible to do
    without.
    """
    if not (wanted.ids or again):
        wanted = wanted._replace(is_redriven=False)
    all_found = await find_letters(db, wanted, MOST + 1)
    lost = {
        one.letter.id
        for one in all_found
        if is_omitted(one.letter.reason, one.bytes) and not unread_offsets(one.letter)
    }
    found = [one.letter for one in all_found]
    if len(found) > MOST:
        err.print(f"There are more than {MOST:,}: repeat the command for the others.")
        found = found[:MOST]
    if unknown := {one.lower() for one in wanted.ids} - {letter.id for letter in found}:
        raise _no_such(sorted(unknown))
    if lost and not can_do_without:
        if wanted.ids:
            raise not_kept(sorted(lost))
        err.print(f"{len(lost):,} are left out: their values were too large and are not kept.")
        found = [letter for letter in found if letter.id not in lost]
    if again:
        return [letter.id for letter in found]
    for letter in found:
        if letter.redriven_at:
            when = moment(letter.redriven_at)
            err.print(f"{letter.id} was redriven at {when}: --again does so once more.")
    return [letter.id for letter in found if not letter.redriven_at]


async def _edited(
    db: asyncpg.Pool, ids: Sequence[str], changes: Mapping[str, bytes], *, editor: bool
) -> dict[str, bytes | None]:
    """The changed values."""
    values: dict[str, bytes | None] = {}
    for letter_id in ids if changes or editor else ():
        letter = await _letter(db, letter_id)
        try:
            value = with_fields(letter.value, changes) if changes else letter.value
        except NotEditable as error:
            raise NotEditable(f"{letter_id}: {error}") from None
        values[letter_id] = await asyncio.to_thread(_in_editor, value) if editor else value
    return values


def _in_editor(value: bytes | None) -> bytes:
    program = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="execstream-") as folder:
        file = Path(folder) / "command.json"
        file.write_bytes(value or b"")
        try:
            # The program is the user's own choice.
            subprocess.run([*shlex.split(program), str(file)], check=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError) as error:
            raise WrongOption(f"The editor {program} failed ({error}): set EDITOR.") from error
        return file.read_bytes().rstrip(b"\r\n")


async def _preview(
    db: asyncpg.Pool,
    ids: Sequence[str],
    values: Mapping[str, bytes | None],
    settings: Settings,
    *,
    json: bool,
) -> None:
    rows = table("dead letter", "reason", "would be", "value", free=("value",))
    for letter_id in ids:
        letter = await _letter(db, letter_id)
        value = values.get(letter_id, letter.value)
        would_be = _would_be(letter, value, settings)
        if json:
            item = {"id": letter.id, "reason": letter.reason, "would_be": would_be}
            print_json(item | {"value": _text(value)})
        rows.add_row(letter.id, letter.reason, would_be, _text(value) or "")
    if not json:
        out.print(rows)
        out.print(f"{len(ids):,} would be redriven.")


async def _redrive(
    db: asyncpg.Pool,
    settings: Settings,
    ids: Sequence[str],
    values: Mapping[str, bytes | None],
    rate: float,
    report_progress: ProgressCallback,
    receipts: list[Receipt],
    *,
    again: bool,
) -> None:
    """Put the letters back; `receipts` gets one of each that was, even when an error is raised."""
    topic = settings.topic_prefix + COMMANDS.name
    producer = Producer(settings.kafka, topic)
    await producer.start()
    redriving = Redriving(db, producer, settings.kafka, topic, settings.max_command_bytes)
    try:
        async with aclosing(paced(ids, rate)) as pages:
            async for page in pages:
                await redriving.put(page, values, again=again)
                report_progress("redriven", len(redriving.done), len(ids))
        async with aclosing(redriving.receipts()) as told:
            async for receipt in told:
                receipts.append(receipt)
                report_progress("outcomes", len(receipts), len(redriving.done))
    finally:
        known = {(receipt.partition, receipt.offset) for receipt in receipts}
        receipts += [unknown(put) for put in redriving.done if put.place not in known]
        await producer.close()


def _print_receipts(receipts: Sequence[Receipt], *, json: bool) -> None:
    if json:
        for receipt in receipts:
            print_json(receipt._asdict())
        return
    rows = table("dead letter", "is now at", "command", "outcome", "reason", "dead letter now")
    for one in receipts:
        place = f"{one.partition}/{one.offset}"
        told = (one.command_id, one.outcome, one.reason, one.dead_letter_id)
        rows.add_row(one.id, place, *(text or "" for text in told))
    out.print(rows)
    counts = {one.outcome: 0 for one in receipts}
    for one in receipts:
        counts[one.outcome] += 1
    count_rows = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())
    out.print(f"{len(receipts):,} redriven{': ' * bool(counts)}{count_rows}.")


async def _letter(db: asyncpg.Pool, letter_id: str) -> Letter:
    letter = await get_letter(db, letter_id)
    if letter is None:
        raise _no_such([letter_id])
    return letter


def _no_such(ids: Sequence[str]) -> NoSuchLetter:
    return NoSuchLetter(
        f"There is no dead letter {', '.join(ids)}: `execstream dlq list` shows those there are."
    )


def _would_be(letter: Letter, value: bytes | None, settings: Settings) -> str:
    if (offsets := unread_offsets(letter)) and not value:
        return f"the records at offsets {offsets[0]} to {offsets[-1]}, read again from the topic"
    try:
        judged = judge(redriven(letter, value), settings.max_command_bytes)
    except NotKept:
        return "nothing, its value is not kept"
    return judged.type if isinstance(judged, Command) else f"dead again, {judged.reason}"


def _change(text: str) -> tuple[str, bytes]:
    path, equals, value = text.partition("=")
    if not (path and equals):
        raise WrongOption(f"--set {text!r} is not like field=value.")
    try:
        return path, msgspec.json.encode(msgspec.json.decode(value, type=msgspec.Raw))
    except NOT_READABLE:
        return path, msgspec.json.encode(value)


def _time(text: str | None) -> Any:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise WrongOption(f"{text!r} is no time like 2026-03-01T06:30:00Z.") from error


def _as_json(letter: Letter, size: int) -> dict[str, Any]:
    return {
        "id": letter.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": _text(letter.key),
        "bytes": size,
        "reason": letter.reason,
        "detail": letter.detail,
        "received_at": letter.received_at,
        "redriven_at": letter.redriven_at,
        "redriven_from": letter.redriven_from,
    }


def _row(found: Found) -> list[str]:
    letter = found.letter
    return [
        letter.id,
        moment(letter.received_at),
        letter.reason,
        f"{letter.partition}/{letter.offset}",
        f"{found.bytes:,}",
        moment(letter.redriven_at),
        _text(letter.key) or "",
    ]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
