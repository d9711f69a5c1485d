"""`execstream quarantine`: records that fail each time, and releasing them."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any

import asyncpg
from cyclopts import App, Parameter

from execstream.cli.acts import record
from execstream.cli.common import Json, Limit, opened, print_json, print_more, start, table
from execstream.cli.terminal import Block, out
from execstream.cli.words import moment
from execstream.config.settings import Settings
from execstream.kafka.producer import Producer
from execstream.recovery.release import Released, Releasing, find_held
from execstream.storage.access.audit_log import Act
from execstream.storage.log.held_records import Held, HeldRecord, list_held, list_records
from execstream.streams.quarantine import MOST_PARKED, Release
from execstream.streams.topics import COMMANDS

quarantine = App(name="quarantine", help="Records that fail each time: list, show, retry, skip.")

Name = Annotated[str, Parameter(name="KEY", help="A run, a user, or PARTITION/OFFSET.")]


@quarantine.command(name="list")
async def list_quarantine(*, limit: Limit = 25, json: Json = False) -> None:
    """List records in quarantine, by run or user, the oldest first."""
    settings = start()
    async with opened(settings) as db:
        found = await list_held(db, _topic(settings), limit + 1)
    rows = table("run or user", "since", "place", "waiting", "bytes", "error")
    for held in found[:limit]:
        if json:
            print_json(_as_json(held))
        place = f"{held.partition}/{held.offset}"
        error = str(held.detail.get("error", ""))
        numbers = (f"{held.waiting:,}", f"{held.bytes:,}")
        rows.add_row(_text(held.key) or "", moment(held.set_aside_at), place, *numbers, error)
    if not json:
        out.print(rows)
    if len(found) > limit:
        print_more()


@quarantine.command
async def show(name: Name, /, *, json: Json = False) -> None:
    """Show the record that fails, and those that wait behind it."""
    settings = start()
    async with opened(settings) as db:
        held = await find_held(db, _topic(settings), name)
        [first] = await list_records(db, held, 1, values=True)
        records = await list_records(db, held, MOST_PARKED + 1, values=False)
    shown = _as_json(held) | {
        "headers": [[name, _text(value)] for name, value in first.headers],
        "value": _text(first.value),
        "records": [_record(one) for one in records],
    }
    if json:
        print_json(shown)
        return
    for field, value in shown.items():
        if field not in ("records", "value"):
            out.print(f"{field:<14} {value}", soft_wrap=True)
    out.print(Block(shown["value"] or ""), soft_wrap=True)
    rows = table("place", "reason", "command", "bytes", "since")
    for one in records:
        place = f"{one.partition}/{one.offset}"
        rows.add_row(
            place, one.reason, one.command_id or "", f"{one.bytes:,}", moment(one.set_aside_at)
        )
    out.print(rows)


@quarantine.command
async def retry(name: Name, /, *, json: Json = False) -> int:
    """Apply all records of a run or user, in order, and print the outcome of each.

    Ends at a record that fails again, with exit code 1.
    """
    return await _release(name, Release.RETRY, json=json)


@quarantine.command
async def skip(name: Name, /, *, json: Json = False) -> int:
    """Make the record that fails a dead letter, and apply those that wait behind it.

    Ends at a record that fails again, with exit code 1.
    """
    return await _release(name, Release.SKIP, json=json)


async def _release(name: str, first: Release, *, json: bool) -> int:
    settings = start()
    rows = table("place", "is now at", "command", "outcome", "reason")
    is_released = True
    acts: list[Act] = []
    async with opened(settings) as db:
        held = await find_held(db, _topic(settings), name)
        async with (
            _releasing(db, settings) as releasing,
            aclosing(releasing.release(held, first)) as receipts,
        ):
            async for one in receipts:
                is_released = one.outcome != "quarantined"
                if json:
                    print_json(one._asdict())
                acts.append(
                    Act(f"quarantine.{first}", f"{one.partition}/{one.offset}", one.outcome)
                )
                rows.add_row(*_row(one))
    await record(settings, *acts)
    if not json:
        out.print(rows)
    return int(not is_released)


@asynccontextmanager
async def _releasing(db: asyncpg.Pool, settings: Settings) -> AsyncIterator[Releasing]:
    topic = _topic(settings)
    producer = Producer(settings.kafka, topic)
    await producer.start()
    try:
        yield Releasing(db, producer, topic, settings.max_command_bytes)
    finally:
        await producer.close()


def _topic(settings: Settings) -> str:
    return settings.topic_prefix + COMMANDS.name


def _row(one: Released) -> list[str]:
    places = (f"{one.partition}/{one.offset}", f"{one.partition}/{one.copy}")
    return [*places, one.command_id or "", one.outcome, one.reason or ""]


def _as_json(held: Held) -> dict[str, Any]:
    return held._asdict() | {"key": _text(held.key)}


def _record(one: HeldRecord) -> dict[str, Any]:
    names = ("partition", "offset", "reason", "detail", "command_id", "bytes", "set_aside_at")
    return {name: getattr(one, name) for name in names}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
