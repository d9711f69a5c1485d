"""`python -m tests.stack up [STATE]`: the servers alone, until Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from execstream.devstack import StackError, start
from execstream.devstack.addresses import DESCRIPTION

USAGE = "Usage: python -m tests.stack up [STATE DIRECTORY, .execstream by default]"


async def up(state: Path) -> None:
    """Keep a stack running until the process is asked to end; before it runs, give it up then."""
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(_run(state))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _run(state: Path) -> None:
    stack = await start(state)
    try:
        print((stack.state / DESCRIPTION).read_text(), end="", flush=True)
        await asyncio.Event().wait()
    finally:
        await stack.stop()


def main() -> int:
    """Exit code: 0 after an orderly end, 1 when the stack could not run, 2 for a wrong call."""
    match sys.argv[1:]:
        case ["up", *rest] if len(rest) <= 1:
            state = Path(rest[0] if rest else ".execstream")
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    try:
        asyncio.run(up(state))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
