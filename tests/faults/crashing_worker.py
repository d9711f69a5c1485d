"""The worker that the tests of faults start: `python -m tests.faults.crashing_worker`.

Arguments: role, `WorkerConfig` as JSON, and the plan of `points` as JSON. It ends when its standard
input does: with the tests, whatever becomes of them.
"""

import os
import sys
from threading import Thread

import msgspec

from execstream.agents.config import WorkerConfig
from execstream.agents.worker import run_worker
from execstream.config.logs import configure_logging
from execstream.config.settings import Settings
from tests.faults.points import arm, die


def main(role: str, config: str, plan: str) -> None:
    configure_logging(Settings(log_format="json"))
    Thread(target=_end_with_parent, daemon=True).start()
    arm(msgspec.json.decode(plan, type=dict[str, list[int]]))
    run_worker(role, msgspec.json.decode(config, type=WorkerConfig))


def _end_with_parent() -> None:
    while os.read(0, 1):  # not through `sys.stdin`: its lock would be held at the exit
        pass
    die()


if __name__ == "__main__":
    main(*sys.argv[1:])
