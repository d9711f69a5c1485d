"""`execstream rules`: the outcome of the same commands under other rules."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from execstream.cli.common import Json, print_json, start, table
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import out
from execstream.recovery.what_if.comparison import Compared, Difference, End, WhatIf
from execstream.recovery.what_if.trial import compare_with_stored, read_table, try_table

rules = App(name="rules", help="The rules: test changed ones.")


@rules.command(name="test")
async def try_rules(
    *,
    against: Annotated[str, Parameter(help="A file, a bundle (.zst) or a topic of commands.")],
    rules: Annotated[
        Path | None, Parameter(help="A Python file that defines ALLOWED_FROM.")
    ] = None,
    json: Json = False,
) -> int:
    """List the runs that would have ended differently under a changed transition table.

    The file is run; its ALLOWED_FROM is like that of streams/statuses.py, with names or members:
    {"COMPLETED": {"RUNNING", "REVIEW"}, …}. Without a file, the rules of this version are compared
    with the stored runs, for rules that were changed in the code. Commands are folded from nothing:
    runs without their beginning are left out. They are all held in memory, about 2 kB per step.
    Exit code 1 when a run would have ended differently.
    """
    changed: WhatIf | Compared
    with counted(quiet=json) as report_progress:
        if rules is None:
            changed, found = await compare_with_stored(start(), against, report_progress)
        else:
            changed, found = await try_table(start, read_table(rules), against, report_progress)
    different = [one for one in found if one.ends_differently]
    if json:
        for one in found:
            print_json(_as_json(one))
    else:
        _print(changed, found, len(different))
    return 1 if different else 0


def _as_json(difference: Difference) -> dict[str, Any]:
    parting = difference.parting
    first = parting and asdict(parting)
    return {
        "graph_exec_id": difference.graph_exec_id,
        "ends_differently": difference.ends_differently,
        "was": _end(difference.was),
        "would_be": _end(difference.would_be),
        "commands": first and first.pop("commands"),
        "first": first,
    }


def _end(end: End) -> dict[str, Any]:
    return {"status": end.status, "steps": end.steps}


def _print(changed: WhatIf | Compared, found: list[Difference], different: int) -> None:
    if found:
        rows = table("run", "was", "would be", "first command", "was", "would be", "commands")
        for one in found:
            parting, first = one.parting, ("", "", "", "")
            if parting is not None:
                command = f"{parting.type} {parting.command_id}"
                first = (command, parting.was, parting.would_be, f"{parting.commands:,}")
            rows.add_row(one.graph_exec_id, _text(one.was), _text(one.would_be), *first)
        out.print(rows)
    out.print(
        f"{changed.commands:,} commands of {changed.runs:,} runs: {different:,} would have ended "
        f"differently, {len(found) - different:,} others have commands with another outcome.",
        soft_wrap=True,
    )


def _text(end: End) -> str:
    if end.status is None:
        return "no such run"
    steps = ", ".join(f"{count} {status}" for status, count in end.steps.items())
    return f"{end.status} ({steps})" if steps else end.status
