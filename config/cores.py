"""The share of the machine that this process may use."""

import os
from contextlib import suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds per period, or "max"


def usable_cores(quota: Path = _QUOTA) -> int:
    """Cores that this process may run on, where a container's limit counts; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with suppress(OSError, ValueError):  # no container, or one without a limit
        limit, period = map(int, quota.read_text().split())
        cores = min(cores or 1, limit // period)
    return max(1, cores or 1)


def processes_for(partitions: int) -> int:
    """Processes that have work: one core is left to the servers, and a partition has one process;
    at least 1."""
    return max(1, min(usable_cores() - 1, partitions))
