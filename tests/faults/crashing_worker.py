"""The worker that the tests of faults start: `python -m tests.faults.crashing_worker`.

Arguments: role, and the plan of `points` as JSON. Settings are in the
environment. It ends when its standard input does: with the tests, whatever becomes of them.
"""

import os
import sys
from threading import Thread

import msgspec

from execstream.agents.worker import run_worker
from execstream.config.logs import configure_logging
from execstream.config.settings import Settings
from tests.faults.points import arm, die
from tests.worker import QUICK


def main(role: str, plan: str) -> None:
    settings = Settings(log_format="json")
    configure_logging(settings)
    Thread(target=_end_with_parent, daemon=True).start()
    arm(msgspec.json.decode(plan, type=dict[str, list[int]]))
    run_worker(role, settings, QUICK)


def _end_with_parent() -> None:
    while os.read(0, 1):  # not through `sys.stdin`: its lock would be held at the exit
        pass
    die()


if __name__ == "__main__":
    main(*sys.argv[1:])
