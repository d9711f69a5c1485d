"""Kafka, Postgres and Redis in containers, for the tests that otherwise use the local stack.

Images are those of docker-compose.yml; KAFKA_IMAGE, POSTGRES_IMAGE and REDIS_IMAGE name others.
The broker has the settings of the local stack's. The engine must be this machine's.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from execstream.devstack import Addresses
from execstream.devstack.kafka import SETTINGS, answers_metadata
from execstream.devstack.ports import HOST, free_ports

# The reaper would need one more image; servers started here are stopped here.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
from testcontainers.core.container import DockerContainer  # reads the line above

PATIENCE = 120.0  # seconds, once the images are there
POLL = 0.2  # seconds
NAME = "execstream"
NODE_ID, CONTROLLER_PORT = SETTINGS["node.id"], 9093


@contextmanager
def servers() -> Iterator[Addresses]:
    """The three servers, from when they answer until the end of the block."""
    kafka, postgres, redis = free_ports(3)
    password = secrets.token_urlsafe(16)
    addresses = Addresses(
        f"{HOST}:{kafka}",
        f"postgresql://{NAME}:{password}@{HOST}:{postgres}/{NAME}",
        f"redis://{HOST}:{redis}/0",
    )
    containers = (_kafka(kafka), _postgres(postgres, password), _redis(redis))
    with ExitStack() as running:
        for container in containers:
            running.enter_context(container)
        asyncio.run(_ready(addresses, kafka))
        yield addresses


def _kafka(port: int) -> DockerContainer:
    """A broker that advertises the port by which this machine reaches it."""
    own = {
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://:{CONTROLLER_PORT}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.quorum.voters": f"{NODE_ID}@localhost:{CONTROLLER_PORT}",
    }
    container = _container("KAFKA", "apache/kafka:4.3.0", port, port)
    for name, value in (SETTINGS | own).items():
        container.with_env("KAFKA_" + name.replace(".", "_").upper(), value)
    return container.with_env("KAFKA_HEAP_OPTS", "-Xms256m -Xmx512m")


def _postgres(port: int, password: str) -> DockerContainer:
    container = _container("POSTGRES", "postgres:17", 5432, port)
    container.with_envs(POSTGRES_USER=NAME, POSTGRES_PASSWORD=password, POSTGRES_DB=NAME)
    return container.with_command("postgres -c fsync=off -c max_connections=200")


def _redis(port: int) -> DockerContainer:
    return _container("REDIS", "redis:7", 6379, port)


def _container(server: str, image: str, inside: int, port: int) -> DockerContainer:
    """A server with a port that is mapped to another one of this machine's loopback."""
    container = DockerContainer(os.environ.get(f"{server}_IMAGE") or image)
    # `with_bind_ports` would open it to every host; the engine's client takes a pair, too.
    container.ports[f"{inside}/tcp"] = (HOST, port)  # type: ignore[assignment]
    return container


async def _ready(addresses: Addresses, kafka_port: int) -> None:
    """Return when all three answer; TimeoutError when they do not come up."""

    async def kafka() -> bool:
        return await answers_metadata(kafka_port)

    async def postgres() -> bool:
        try:
            await (await asyncpg.connect(addresses.postgres_dsn)).close()
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    async def redis() -> bool:
        try:
            async with Redis.from_url(addresses.redis_url) as client:
                return bool(await client.ping())
        except RedisError:
            return False

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as waiting:
        for server in (kafka, postgres, redis):
            waiting.create_task(_until(server))


async def _until(answers: Callable[[], Awaitable[bool]]) -> None:
    while not await answers():  # noqa: ASYNC110 - it comes up in another process
        await asyncio.sleep(POLL)
