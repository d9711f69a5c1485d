"""Commands per second that the whole pipeline drains, with everything on this machine.

    python -m bench.throughput [--runs 2000]

Runs `execstream demo` as fast as it goes in an empty directory: its own servers, workers and
simulation, checked at the end against an independent fold. Prints the receipt, the usage of each
process (CPU per command, peak memory) and the worker's time by phase; phases overlap. Load average
is printed beside them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

SAMPLE = 0.25  # seconds
ROOT = Path(__file__).parent.parent


class Usage:
    """CPU seconds and peak memory of processes, by kind."""

    def __init__(self) -> None:
        self.cpu: dict[str, dict[int, float]] = {}
        self.peak: dict[str, int] = {}

    def sample(self, root: psutil.Process) -> None:
        memory: dict[str, int] = {}
        for process in [root, *root.children(recursive=True)]:
            try:
                name = _name(process)
                times = process.cpu_times()
                self.cpu.setdefault(name, {})[process.pid] = times.user + times.system
                memory[name] = max(memory.get(name, 0), process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        for name, size in memory.items():
            self.peak[name] = max(self.peak.get(name, 0), size)

    def report(self, commands: int) -> dict[str, dict[str, float]]:
        """Report by process: CPU in microseconds per command, and the peak of the largest in MB."""
        return {
            name: {
                "cpu_us_per_command": round(sum(cpu.values()) / commands * 1e6, 1),
                "peak_mb": round(self.peak[name] / 1e6),
            }
            for name, cpu in sorted(self.cpu.items())
        }


def _name(process: psutil.Process) -> str:
    command = process.cmdline()
    if "--role" in command:
        return f"worker {command[command.index('--role') + 1]}"
    known = ("java", "postgres", "redis-server")
    name = next((one for one in known if one in " ".join(command[:1]).lower()), "demo")
    return "kafka" if name == "java" else name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    options = parser.parse_args()
    usage = Usage()
    with tempfile.TemporaryDirectory() as directory:
        receipt = _drain(options.runs, Path(directory), usage)
        phases = _phases(Path(directory))
    if receipt is None:
        return 1
    print(json.dumps(receipt, indent=2))
    print(json.dumps({"processes": usage.report(receipt["sent"])}, indent=2))
    print(json.dumps({"phases_seconds": phases, "load": os.getloadavg()}))
    return 0


def _drain(runs: int, directory: Path, usage: Usage) -> dict[str, int] | None:
    command = (sys.executable, "-m", "execstream", "demo", "--runs", str(runs), "--rate", "0")
    demo = subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--exit", "--json"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    root = psutil.Process(demo.pid)
    while demo.poll() is None:
        usage.sample(root)
        time.sleep(SAMPLE)
    output = demo.stdout.read() if demo.stdout else b""
    return json.loads(output) if demo.returncode == 0 else None


def _phases(directory: Path) -> dict[str, float]:
    """The last report of the apply worker."""
    lines = (directory / ".execstream" / "logs" / "worker-apply.log").read_text().splitlines()
    reports = [json.loads(line) for line in lines if '"phases"' in line]
    known = ("decode", "load", "fold", "commit", "publish")
    return {phase: reports[-1][phase] for phase in known} if reports else {}


if __name__ == "__main__":
    sys.exit(main())
