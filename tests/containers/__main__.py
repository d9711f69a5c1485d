"""`make test-containers`: the integration tests against servers in containers.

`python -m tests.containers [ARGUMENTS OF PYTEST]`; without any, the tests of storage, of the
agents and of the whole.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from docker.errors import DockerException

from tests.conftest import RUNNING_STACK
from tests.containers import engine
from tests.containers.servers import servers

SUITES = ("tests/storage", "tests/agents", "tests/whole")
SIDE_BY_SIDE = ("--numprocesses=2", "--dist=loadfile")


def main(arguments: list[str]) -> int:
    if not engine.answers():
        print(engine.ABSENT, file=sys.stderr)
        return 1
    try:
        with servers() as addresses, tempfile.TemporaryDirectory() as folder:
            description = Path(folder, "stack.json")
            description.write_text(json.dumps(asdict(addresses)))
            print("Kafka, Postgres and Redis answer in containers.", flush=True)
            return subprocess.call(
                [sys.executable, "-m", "pytest", *(arguments or SIDE_BY_SIDE + SUITES)],
                env=os.environ | {RUNNING_STACK: str(description)},
            )
    except (DockerException, TimeoutError) as error:
        print(f"The servers did not come up in containers: {error!r}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
