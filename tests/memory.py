"""The memory of processes, as Linux counts it."""

from pathlib import Path

SERVER_MOST = 400  # MiB that the HTTP server may take


def peak_memory(pid: int) -> int:
    """The most resident memory that the process had so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
