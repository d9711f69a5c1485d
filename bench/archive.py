"""CPU of archiving a command.

    python -m bench.archive [--commands 200000] [--rounds 3]

Starts servers of its own, puts that many simulated commands on the topic, and runs `execstream
archive` on them, each round into a new folder. Printed is the CPU time of the program per command:
of the whole process, and without that of its start, which is measured by a run that finds nothing
new. The load average is printed beside.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench.replay import fill
from execstream import devstack
from execstream.kafka.admin import apply_topics
from execstream.storage.schema.migrate import migrate


def cpu_of(folder: Path, environment: dict[str, str]) -> tuple[float, dict[str, int]]:
    """CPU seconds of one run, and its report."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(  # noqa: S603
        (sys.executable, "-m", "execstream", "archive", "--to", str(folder), "--json"),
        env=environment,
        check=True,
        capture_output=True,
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, json.loads(said)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        stack = await devstack.start(Path(state))
        environment = os.environ | {
            "EXECSTREAM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
            "EXECSTREAM_POSTGRES_DSN": stack.postgres_dsn,
            "EXECSTREAM_REDIS_URL": stack.redis_url,
        }
        try:
            await migrate(stack.postgres_dsn)
            await apply_topics(stack.kafka_bootstrap)
            await fill(stack, options.commands)
            whole, beginning = [], []
            for number in range(options.rounds):
                folder = Path(state) / f"archive-{number}"
                spent, report = cpu_of(folder, environment)
                whole.append(spent)
                beginning.append(cpu_of(folder, environment)[0])
        finally:
            await stack.stop()
    seconds, start = median(whole), median(beginning)
    figures = {
        "commands": report["records"],
        "segment_bytes_per_command": round(report["bytes"] / report["records"], 1),
        "microseconds_per_command": round((seconds - start) / report["records"] * 1e6, 2),
        "with_start": round(seconds / report["records"] * 1e6, 2),
        "start_seconds": round(start, 2),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main())
