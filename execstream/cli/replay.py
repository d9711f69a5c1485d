"""`execstream replay`: everything once more from what the log has."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from execstream.cli.common import Json, err, out, print_json, start, table
from execstream.cli.progress import counted
from execstream.cli.replay_bundle import replay_file
from execstream.cli.replay_events import replay_events
from execstream.recovery.replay.bounds import Asked
from execstream.recovery.replay.proof import Proof
from execstream.recovery.replay.run import Report, replay_into
from streams.errors import Fatal
from streams.offsets import EARLIEST, parse_point


class NothingToDo(Fatal):
    """The command line does not say what to replay."""


async def replay(
    bundle: Annotated[Path | None, Parameter(name="BUNDLE")] = None,
    /,
    *,
    into: Annotated[str | None, Parameter(name="--into")] = None,
    source: Literal["topics", "journal"] = "topics",
    from_: Annotated[str, Parameter(name="--from")] = EARLIEST,
    until: str | None = None,
    swap: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    events: Annotated[bool, Parameter(negative="")] = False,
    to_redis: Annotated[bool, Parameter(negative="")] = False,
    to_topic: str | None = None,
    rate: Annotated[float, Parameter(validator=Number(gte=0))] = 1_000.0,
    json: Json = False,
) -> int:
    """Rebuild everything into a schema beside the live one, and prove that both are the same.

    The live side goes on meanwhile. Interrupted, the same command goes on where it was. With a
    BUNDLE its runs are rebuilt for looking at, by default into the schema `bundle`; with --events
    nothing is rebuilt, but events are told once more.

    Parameters
    ----------
    bundle
        A file that `execstream export` made.
    into
        The schema to rebuild into; it is made.
    source
        What to read: the commands in their topic, or the journal of the live schema.
    from_
        Where to begin: earliest, a time (Kafka's), or offsets like 0:1200,1:950. What came before
        is taken from the journal of the live schema.
    until
        Where to end: a time, or offsets; without it wherever the live schema is.
    swap
        Let the rebuilt schema take the place of the live one, which gets its name; only when both
        are the same.
    force
        Swap even when they differ, as they do when a rule was mended.
    events
        Tell events once more from the journal, marked as replayed. --from and --until are times
        of commands, or offsets of them.
    to_redis
        Tell them on the channels of the runs.
    to_topic
        Tell them on this topic, which must be there.
    rate
        Events per second at most; 0: as fast as it goes.
    """
    begin, end = parse_point(from_), {} if until is None else parse_point(until)
    if events:
        return await replay_events(
            begin, end, to_redis=to_redis, to_topic=to_topic, rate=rate, json=json
        )
    if bundle is not None:
        return await replay_file(bundle, into or "bundle", json=json)
    if into is None:
        raise NothingToDo("Say what: --into SCHEMA to rebuild, --events, or a bundle.")
    asked = Asked(source, begin, end)
    return await _rebuild(into, asked, swap=swap, force=force, json=json)


async def _rebuild(into: str, asked: Asked, *, swap: bool, force: bool, json: bool) -> int:
    settings = start()
    with counted(quiet=json) as tell:
        report = await replay_into(settings, into, asked, tell, swapping=swap, force=force)
    if json:
        print_json(_as_json(report))
    else:
        _print(report)
    if swap and not report.swapped:
        err.print("Not swapped, because rows differ; --force swaps all the same.")
    return 0 if report.is_good else 1


def _as_json(report: Report) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "schema": report.schema,
        "replayed": report.replayed,
        "seconds": round(report.seconds, 3),
        "commands_per_second": round(_rate(report)),
        "swapped": report.swapped,
        "equal": None,
    }
    if report.proof is None:
        return fields
    proof = report.proof
    return fields | {
        "equal": proof.is_equal,
        "tables": {
            table: {
                "rows": rows,
                "hash": proof.hashes[table],
                "differing": proof.differing.get(table, 0),
            }
            for table, rows in proof.rows.items()
        },
        "differences": [
            one._asdict() | {"key": [str(part) for part in one.key]} for one in proof.differences
        ],
        "left_out": proof.left_out,
    }


def _rate(report: Report) -> float:
    return report.replayed / report.seconds if report.seconds else 0.0


def _print(report: Report) -> None:
    rate = f"{_rate(report):,.0f} commands/s"
    out.print(f"{report.replayed:,} commands replayed in {report.seconds:.1f} s, {rate}")
    if report.proof is None:
        out.print("There is no live schema to compare with.")
    else:
        _print_proof(report.proof)
    if report.swapped:
        out.print(f"The rebuilt schema is live now; the one before is {report.schema}.")


def _print_proof(proof: Proof) -> None:
    rows = table("table", "rows", "hash", "differing")
    for name, count in proof.rows.items():
        rows.add_row(name, f"{count:,}", proof.hashes[name], f"{proof.differing.get(name, 0):,}")
    out.print(rows)
    for what in proof.left_out:
        out.print(f"Not compared: {what}.", soft_wrap=True)
    for one in proof.differences:
        place = f"{one.table} {'/'.join(map(str, one.key))} {one.column}"
        line = f"{place}: live {one.live}, rebuilt {one.rebuilt}"
        out.print(line, soft_wrap=True, markup=False)
    out.print("Live and rebuilt are the same." if proof.is_equal else "Live and rebuilt differ.")
