"""The memory of processes, as Linux counts it."""

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

TENTHS = 10
SERVER_MOST = 400  # MiB that the HTTP server may take


def peak_memory(pid: int) -> int:
    """The most resident memory that the process had so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@dataclass
class Memory:
    """Resident bytes of processes over time, by name."""

    samples: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def look(self, pids: Mapping[str, int]) -> None:
        """Add a sample of each process that is still there."""
        for name, pid in pids.items():
            if psutil.pid_exists(pid):
                size = psutil.Process(pid).memory_info().rss
                self.samples.setdefault(name, []).append((time.monotonic(), size))

    def lines(self) -> Iterator[str]:
        """Of each process its growth, and its MiB in the tenths of the time."""
        for name, slope in self.growth().items():
            sizes = [size for _, size in self.samples[name]]
            tenth = max(1, len(sizes) // TENTHS)
            tenths = [statistics.mean(sizes[at : at + tenth]) for at in range(0, len(sizes), tenth)]
            course = " ".join(f"{size / 2**20:.0f}" for size in tenths)
            yield f"memory of {name}: {slope:+.2%} a minute; MiB over time: {course}"

    def growth(self) -> dict[str, float]:
        """The slope of a line through the last four fifths of the mean, per minute, by name."""
        return {name: _slope(found[len(found) // 5 :]) for name, found in self.samples.items()}


def _slope(samples: list[tuple[float, int]]) -> float:
    times, sizes = zip(*samples, strict=True)
    slope, _ = statistics.linear_regression(times, sizes)
    return float(slope * 60 / statistics.mean(sizes))
