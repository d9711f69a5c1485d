"""A wire between this machine and a network namespace, which delays, loses and cuts its packets.

The namespace has no loopback device: 127.0.0.1 is this machine, at the other end of the wire, so
programs in it need no other addresses. `python -m tests.faults.wire SEED` is the wire itself, which
reads its rules from standard input, one JSON object per line, and ends with it. The kernel's own
delay of packets (netem) is a module that many machines lack.
"""

import asyncio
import fcntl
import heapq
import os
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec

from tests.faults.needs import Unavailable, require_root
from tests.faults.workers import PROJECT

_TUNSETIFF, _TUN, _NO_PACKET_INFO = 0x400454CA, 0x0001, 0x1000
_MTU = 1_500  # bytes
_TCP = 6
HERE, THERE = "10.77.0.1", "10.77.0.2"  # this machine's end, and the namespace's


class Rules(msgspec.Struct):
    """The treatment of packets from now on.

    Attributes:
        delay: seconds that each packet takes.
        loss: share of packets that get lost, of both directions.
        cut_to: ports of this machine whose packets from the namespace get lost.
        cut_from: ports of this machine whose packets to the namespace get lost.
    """

    delay: float = 0.0
    loss: float = 0.0
    cut_to: list[int] = []
    cut_from: list[int] = []


class Wire:
    """A running wire and its namespace."""

    def __init__(self, namespace: str, process: asyncio.subprocess.Process) -> None:
        self.within = ("ip", "netns", "exec", namespace)  # before a command that runs there
        self._process = process

    def follow(self, rules: Rules) -> None:
        """Treat packets by other rules."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(rules) + b"\n")


@asynccontextmanager
async def wire(seed: int) -> AsyncIterator[Wire]:
    """A wire while the context lasts; raises Unavailable where none can be made."""
    require_root()
    names = [f"es{os.getpid()}{end}" for end in "ab"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.wire", str(seed), *names),
        cwd=PROJECT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            raise Unavailable("no device for a wire can be made (/dev/net/tun)")
        _connect(*names)
        yield Wire(names[1], process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
        subprocess.run(["ip", "netns", "del", names[1]], check=False)  # noqa: S607, ASYNC221


def _connect(here: str, there: str) -> None:
    """Address both ends and route 127.0.0.1 through the wire."""
    _ip("netns", "add", there)
    _ip("link", "set", there, "netns", there)
    _ip("addr", "add", HERE, "peer", THERE, "dev", here)
    _ip("link", "set", here, "up", "mtu", str(_MTU))
    _allow_loopback(here)
    _ip("-n", there, "addr", "add", THERE, "peer", HERE, "dev", there)
    _ip("-n", there, "link", "set", there, "up", "mtu", str(_MTU))
    _ip("-n", there, "route", "add", "127.0.0.1", "dev", there, "src", THERE)
    inside = ("netns", "exec", there, sys.executable, "-m", "tests.faults.wire", "allow", there)
    _ip(*inside)


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, cwd=PROJECT)  # noqa: S607
    except FileNotFoundError as error:
        raise Unavailable("the program `ip` is missing") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"ip {' '.join(arguments)}: {error.stderr.decode()}") from error


def _allow_loopback(device: str) -> None:
    """Let packets from and to 127.0.0.1 pass through the device."""
    Path(f"/proc/sys/net/ipv4/conf/{device}/route_localnet").write_text("1")


# ---- the wire's own process --------------------------------------------------------------------


def _open_device(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH", name.encode(), _TUN | _NO_PACKET_INFO)
    fcntl.ioctl(device, _TUNSETIFF, request)
    return device


def _carry(seed: int, here: str, there: str) -> None:
    """Carry packets until standard input ends."""
    ends = {_open_device(here): False, _open_device(there): True}  # to whether it is there
    other = dict(zip(ends, reversed(ends), strict=True))
    print("ready", flush=True)
    chance, rules = Random(seed), Rules()
    under_way: list[tuple[float, int, int, bytes]] = []  # when, number, device, packet
    number = 0
    with selectors.DefaultSelector() as selector:
        for source in (*ends, sys.stdin.fileno()):
            selector.register(source, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            while under_way and under_way[0][0] <= now:
                _, _, device, packet = heapq.heappop(under_way)
                _write(device, packet)
            wait = max(0.0, under_way[0][0] - now) if under_way else None
            for key, _ in selector.select(wait):
                if key.fd == sys.stdin.fileno():
                    if not (line := sys.stdin.readline()):
                        return
                    rules = msgspec.json.decode(line, type=Rules)
                    continue
                packet = os.read(key.fd, _MTU)
                if not _is_lost(packet, rules, chance, from_there=ends[key.fd]):
                    number += 1
                    due = time.monotonic() + rules.delay
                    heapq.heappush(under_way, (due, number, other[key.fd], packet))


def _write(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError:  # the other end is not up yet, or not any more: the packet is lost
        return


def _is_lost(packet: bytes, rules: Rules, chance: Random, *, from_there: bool) -> bool:
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return False
    begin = (packet[0] & 0x0F) * 4
    source, target = struct.unpack_from("!HH", packet, begin)
    is_cut = target in rules.cut_to if from_there else source in rules.cut_from
    return is_cut or chance.random() < rules.loss


if __name__ == "__main__":
    if sys.argv[1] == "allow":
        _allow_loopback(sys.argv[2])
    else:
        _carry(int(sys.argv[1]), *sys.argv[2:])
