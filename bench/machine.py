"""CPU, memory and description of the machine that a measurement runs on."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import psutil

# Names of the servers' programs, and the servers they run.
SERVERS = {"java": "Kafka", "postgres": "Postgres", "valkey-server": "Redis"}

Cpu = dict[str, float]  # seconds by process


class Machine:
    """CPU of the servers and of the processes that were started for the measurement.

    A process counts for the nearest ancestor that was announced. Children that have ended count
    too, because their parents inherit their times.
    """

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._begin: Cpu = {}

    def announce(self, pids: Mapping[str, int]) -> None:
        """Take in process ids by name."""
        self._pids.update(pids)

    def begin(self) -> None:
        """Count from now on."""
        self._begin = self._cpu()

    def spent(self) -> Cpu:
        """CPU seconds by process since `begin`."""
        return {name: seconds - self._begin.get(name, 0) for name, seconds in self._cpu().items()}

    def memory(self) -> dict[str, int]:
        """Megabytes that each announced process had in memory at most."""
        return {name: _family_memory(pid) // 10**6 for name, pid in self._pids.items()}

    def _cpu(self) -> Cpu:
        names = {pid: name for name, pid in self._pids.items()}
        found: Cpu = {}
        children = psutil.Process().children(recursive=True)  # parents before their children
        for process in children:
            try:
                program, parent, times = process.name(), process.ppid(), process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            name = names.get(process.pid) or names.get(parent) or SERVERS.get(program, "others")
            names[process.pid] = name
            ended = times.children_user + times.children_system
            found[name] = found.get(name, 0) + times.user + times.system + ended
        return found


def _family_memory(pid: int) -> int:
    """Bytes of a process and of those that it began, each at its peak."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum([peak_memory(one.pid) for one in family])


def peak_memory(pid: int) -> int:
    """The peak in bytes; where the kernel does not report it, the current size."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process(pid).memory_info().rss)


def described() -> dict[str, str]:
    """Processor, cores, memory, system and Python of this machine."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
