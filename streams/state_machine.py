"""The transition table as a page of the documentation.

`python -m execstream.streams.state_machine > docs/state_machine.md` writes it, and a test fails
when it is stale.
"""

from collections.abc import Iterable

from execstream.streams.statuses import (
    ALLOWED_FROM,
    ENDED,
    FINAL,
    ExecutionStatus,
    allowed_from,
    is_allowed,
)

_PAGE = """\
# The states of runs and steps

Made from `streams/statuses.py` by
`python -m execstream.streams.state_machine > docs/state_machine.md`; change it there.
Runs (graph executions) and steps (node executions) share this table.

```mermaid
{diagram}
```

## Which move leads where

A row says what something in that status may become; `yes` is allowed, everything else is refused
with `illegal_transition`. INCOMPLETE is refused as a target with `not_a_target`.

{moves}

As a sentence per status:

{sentences}

## What follows

* A run begins as INCOMPLETE. A step begins as QUEUED when the run starts with it, else as
  INCOMPLETE.
* No status leads to itself.
* Nothing leads out of {final}.
* A run that becomes {ended} is over: its `ended_at` is set, and
  its RUNNING steps become FAILED in the same transaction.
* A run or step that is {resumable} can go on; the run's `ended_at` is cleared then.
"""


def render() -> str:
    """The whole page."""
    return _PAGE.format(
        diagram="\n".join(_diagram()),
        moves="\n".join(_moves()),
        sentences="\n".join(_sentences()),
        final=_listed(FINAL),
        ended=_listed(ENDED),
        resumable=_listed(ENDED - FINAL),
    )


def _diagram() -> Iterable[str]:
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


def _moves() -> Iterable[str]:
    yield _row("from ↓ to →", *ALLOWED_FROM)
    yield _row(*["---"] * (1 + len(ALLOWED_FROM)))
    for was in ExecutionStatus:
        yield _row(was, *("yes" if is_allowed(was, to) else "" for to in ALLOWED_FROM))


def _sentences() -> Iterable[str]:
    for to in ALLOWED_FROM:
        yield f"* to become {to} it must be {_listed(allowed_from(to))}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(statuses: Iterable[ExecutionStatus]) -> str:
    """In the order of the enum: `A, B or C`."""
    wanted = set(statuses)
    *others, last = [status for status in ExecutionStatus if status in wanted]
    return f"{', '.join(others)} or {last}" if others else last


if __name__ == "__main__":
    print(render(), end="")
