"""Free TCP ports on 127.0.0.1 for the servers of the local stack.

They are taken from below the range that systems hand out to outgoing connections (32768 and
up on Linux, 49152 and up elsewhere). In that range a client that retries against a killed
server can be given the server's own port, connect to itself, and keep the server from
coming back.
"""

import itertools
import random
import socket

import psutil

from execstream.devstack.errors import StackError

HOST = "127.0.0.1"
RANGE = range(20_000, 32_000)
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # The servers bind in the same way: a port with connections in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Pick so many different free ports.

    Raises:
        StackError: that many were not found in `ATTEMPTS` random picks.
    """
    picks = random.sample(RANGE, ATTEMPTS)
    free = list(itertools.islice(filter(is_free, picks), count))
    if len(free) < count:
        raise StackError(
            f"No {count} free ports were found between {RANGE.start} and {RANGE.stop - 1} on "
            f"{HOST}: end some of the programs that listen there."
        )
    return free


def require_free(port: int, server: str) -> None:
    """Raise a StackError that names the program that listens on the port, if there is one."""
    if is_free(port):
        return
    raise StackError(
        f"Port {port} on {HOST}, needed for {server}, is taken by {_holder(port)}: "
        "end that program, or stop the stack and start it again to get another port."
    )


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass  # not ours to look into, on this system or as this user
    return "another program"
