"""`execstream replay`: rebuild everything from the log."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from execstream.cli.acts import record
from execstream.cli.common import Json, print_json, start, table
from execstream.cli.progress_bar import counted
from execstream.cli.replay_bundle import replay_file
from execstream.cli.replay_events import replay_events
from execstream.cli.terminal import err, out
from execstream.recovery.replay.bounds import Asked
from execstream.recovery.replay.offset_points import EARLIEST, Point, parse_point
from execstream.recovery.replay.proof import Proof
from execstream.recovery.replay.replay_into import Report, replay_into
from execstream.recovery.replay.schema_hashes import NO_PARTITION, Sum
from execstream.recovery.replay.shadow_schema import JOURNAL
from execstream.storage.access.audit_log import Act
from execstream.streams.errors import Fatal

_NOT_SWAPPED = "Not swapped, because rows differ; --force swaps all the same."
_NOT_SWAPPED_WITHOUT = (
    "Not swapped, because a swap would lose the runs that were left out: replay from the topics, "
    "or mend them first."
)


class NothingToDo(Fatal):
    """The command line does not name the data to replay."""


class NotTogether(Fatal):
    """Options that do not go together."""


async def replay(
    bundle: Annotated[Path | None, Parameter(name="BUNDLE")] = None,
    /,
    *,
    into: Annotated[str | None, Parameter(name="--into")] = None,
    source: Literal["topics", "journal"] = "topics",
    from_: Annotated[str, Parameter(name="--from")] = EARLIEST,
    until: str | None = None,
    from_archive: Annotated[Path | None, Parameter(name="--from-archive")] = None,
    topics_lost: Annotated[bool, Parameter(negative="")] = False,
    swap: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    events: Annotated[bool, Parameter(negative="")] = False,
    to_redis: Annotated[bool, Parameter(negative="")] = False,
    to_topic: str | None = None,
    rate: Annotated[float, Parameter(validator=Number(gte=0))] = 1_000.0,
    json: Json = False,
) -> int:
    """Rebuild everything into a schema beside the live one, and prove that both are the same.

    The live schema stays in use meanwhile. After an interruption, the same command continues at its
    last position; Ctrl-Z pauses, and `fg` goes on. With a BUNDLE its runs are rebuilt for looking
    at, by default into the schema `bundle`; with --events nothing is rebuilt, but events are
    published again.

    Parameters
    ----------
    bundle
        A file that `execstream export` made.
    into
        The schema to rebuild into; it is made.
    source
        Source: the commands in their topic, or the journal of the live schema.
    from_
        Where to begin: earliest, a time (Kafka's), or offsets like 0:1200,1:950. Earlier state
        is taken from the journal of the live schema.
    until
        Where to end: a time, or offsets; by default the position of the live schema.
    from_archive
        A folder of `execstream archive`, which is read first, and then the topic from its end.
    topics_lost
        The archived topics were lost and made again: new commands continue behind the archive.
    swap
        Let the rebuilt schema take the live one's place and name; only when both are the same.
    force
        Swap even when they differ, as they do when a rule was mended.
    events
        Publish events again from the journal, marked as replayed. --from and --until are times
        of commands, or offsets of them.
    to_redis
        Publish them on the channels of the runs.
    to_topic
        Publish them on this topic, which must be there.
    rate
        Events per second at most; 0: as fast as it goes.
    """
    begin, end = parse_point(from_), {} if until is None else parse_point(until)
    _check(bundle, into, source, begin, end, swap=swap, force=force, events=events)
    _check_archive(from_archive, into, source, topics_lost=topics_lost)
    if events:
        return await replay_events(
            begin, end, to_redis=to_redis, to_topic=to_topic, rate=rate, json=json
        )
    if bundle is not None:
        return await replay_file(bundle, into or "bundle", json=json)
    if into is None:
        raise NothingToDo("Choose one: --into SCHEMA to rebuild, --events, or a bundle.")
    asked = Asked(source, begin, end, from_archive, topics_lost)
    return await _rebuild(into, asked, swap=swap, force=force, json=json)


def _check(
    bundle: Path | None,
    into: str | None,
    source: str,
    begin: Point,
    end: Point,
    *,
    swap: bool,
    force: bool,
    events: bool,
) -> None:
    """Refuse options that would be ignored."""
    if events and (into or swap or bundle):
        raise NotTogether("--events rebuilds nothing: no --into, no --swap, no bundle.")
    if bundle is not None and (swap or begin or end or source == JOURNAL):
        raise NotTogether("A bundle is rebuilt whole, to be looked at: only --into goes with it.")
    if source == JOURNAL and begin and not events:
        raise NotTogether("The journal is read from its beginning: --from is for the topics.")
    if force and not swap:
        raise NotTogether("--force requires --swap.")


def _check_archive(
    archive: Path | None, into: str | None, source: str, *, topics_lost: bool
) -> None:
    if archive is not None and (into is None or source == JOURNAL):
        raise NotTogether("--from-archive is for --into, and for --source topics.")
    if topics_lost and archive is None:
        raise NotTogether("--topics-lost requires --from-archive.")


async def _rebuild(into: str, asked: Asked, *, swap: bool, force: bool, json: bool) -> int:
    settings = start()
    try:
        with counted(quiet=json) as report_progress:
            report = await replay_into(
                settings, into, asked, report_progress, swapping=swap, force=force
            )
    except asyncio.CancelledError:
        err.print(f"Interrupted: the same command continues the rebuild in {into}.", soft_wrap=True)
        raise
    if report.swapped:
        await record(settings, Act("replay.swap", into, "done"))
    if json:
        print_json(_as_json(report))
    else:
        _print(report)
    if swap and not report.swapped:
        err.print(_NOT_SWAPPED_WITHOUT if report.unreadable else _NOT_SWAPPED)
    return 0 if report.is_good else 1


def _as_json(report: Report) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "schema": report.schema,
        "replayed": report.replayed,
        "seconds": round(report.seconds, 3),
        "commands_per_second": round(_rate(report)),
        "swapped": report.swapped,
        "equal": None,
        "left_out": report.left_out,
        "unreadable": report.unreadable,
    }
    if report.proof is None:
        return fields
    proof = report.proof
    return fields | {
        "equal": proof.is_equal,
        "tables": {table: _sums_as_json(table, proof) for table in proof.sums},
        "differences": [
            one._asdict() | {"key": [str(part) for part in one.key]} for one in proof.differences
        ],
    }


def _sums_as_json(table: str, proof: Proof) -> dict[str, Any]:
    sums = proof.sums[table]
    rows, total = _whole(sums.rebuilt)
    live_rows, live_total = _whole(sums.live)
    return {
        "rows": rows,
        "hash": total,
        "live_rows": live_rows,
        "live_hash": live_total,
        "differing": proof.differing.get(table, 0),
        "partitions": {
            str(partition): {"hash": _hex(there), "live_hash": _hex(here)}
            for partition in sorted(sums.live.keys() | sums.rebuilt.keys())
            if partition != NO_PARTITION
            for here, there in [(sums.live.get(partition), sums.rebuilt.get(partition))]
        },
    }


def _whole(sums: Mapping[int, Sum]) -> tuple[int, str]:
    """Rows and hash of all partitions."""
    total = sum(one.hash for one in sums.values())
    return sum(one.rows for one in sums.values()), _hex(Sum(0, total))


def _hex(one: Sum | None) -> str:
    return f"{(0 if one is None else one.hash) % 2**64:016x}"


def _rate(report: Report) -> float:
    return report.replayed / report.seconds if report.seconds else 0.0


def _print(report: Report) -> None:
    rate = f"{_rate(report):,.0f} commands/s"
    out.print(f"{report.replayed:,} commands replayed in {report.seconds:.1f} s, {rate}")
    if report.proof is None:
        out.print("There is no live schema to compare with.")
    else:
        _print_proof(report.proof)
    for what in report.left_out:
        out.print(f"Left out: {what}.", soft_wrap=True)
    if report.swapped:
        out.print(f"The rebuilt schema is live now; the one before is {report.schema}.")


def _print_proof(proof: Proof) -> None:
    rows = table("table", "rows", "live", "rebuilt", "differing")
    for name, count in proof.rows.items():
        sums = proof.sums[name]
        differing = f"{proof.differing.get(name, 0):,}"
        rows.add_row(name, f"{count:,}", _whole(sums.live)[1], _whole(sums.rebuilt)[1], differing)
    out.print(rows)
    for one in proof.differences:
        place = f"{one.table} {'/'.join(map(str, one.key))} {one.column}"
        line = f"{place}: live {one.live}, rebuilt {one.rebuilt}"
        out.print(line, soft_wrap=True)
    for name, count in proof.omitted.items():
        out.print(f"{name}: {count:,} more differ.", soft_wrap=True)
    out.print("Live and rebuilt are the same." if proof.is_equal else "Live and rebuilt differ.")
