"""A real Apache Kafka broker: one node in KRaft mode, broker and controller in one process.

Topics are never made by mistake (no auto-creation), groups start at once, and records up to
32 MiB pass. Data is not synced to disk on each write, as in Kafka's defaults: a killed
broker loses nothing, a machine that loses power may.
"""

import asyncio
import contextlib
import logging
import shutil
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from execstream.devstack.errors import StackError
from execstream.devstack.ports import HOST
from execstream.devstack.processes import run
from execstream.devstack.server import Server

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
PROPERTIES = "server.properties"
JVM_OPTIONS = (
    "-Xmx384m",
    # Half the CPU of the defaults, measured over the first 150,000 records of a start: a local
    # broker does not live long enough for the optimizing compiler to pay.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    # By default the heap is collected in full when the classes of a start reach 21 MB.
    "-XX:MetaspaceSize=128m",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    # A killed broker may come back only once its old session has run out (9 s by default).
    "broker.heartbeat.interval.ms": "1000",
    "broker.session.timeout.ms": "4000",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "8",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "message.max.bytes": str(MAX_MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
}
# Of the formatting of its storage, beside the settings.
FORMATTING: tuple[str, ...] = ()


class Runtime(NamedTuple):
    """The programs that run Kafka: Java and the jars."""

    java: str
    jars: Path

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """Argument vector of one of them."""
        # In the C locale Java would not find files below a directory with a non-ASCII name.
        java = ["/usr/bin/env", "LC_ALL=C.UTF-8", self.java]
        return [*java, *JVM_OPTIONS, "-cp", f"{self.jars}/*", main_class, *arguments]


async def prepare(state: Path, logs: Path, runtime: Runtime, ports: tuple[int, int]) -> Server:
    """Write the broker's settings, format its storage on first use, and return how to run it.

    Args:
        state: the stack's directory.
        logs: where the log goes.
        runtime: Java and the jars.
        ports: for clients, and for the controller.

    Raises:
        StackError: the storage could not be formatted.
    """
    port, controller_port = ports
    home = state / "kafka"
    home.mkdir(exist_ok=True)
    settings = SETTINGS | {
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        # Relative to `home`: this is a list, and a path may have commas.
        "log.dirs": "data",
    }
    (home / PROPERTIES).write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    formatted = home / "formatted"  # only there when formatting has come to its end
    if not formatted.exists():
        shutil.rmtree(home / "data", ignore_errors=True)
        await _format(runtime, home)
        formatted.touch()

    async def is_ready() -> bool:
        return await answers_metadata(port)

    return Server(
        "Kafka",
        runtime.command("kafka.Kafka", PROPERTIES),
        ports,
        logs / "kafka.log",
        is_ready,
        directory=home,
    )


async def answers_metadata(port: int) -> bool:
    """Return whether the broker on the port is a registered member of its cluster."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
    except OSError:
        return False
    admin = AIOKafkaAdminClient(bootstrap_servers=f"{HOST}:{port}", request_timeout_ms=5_000)
    # A broker that is still starting does not deserve an error in our caller's log.
    with _silenced("aiokafka"):
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
            return bool(cluster["brokers"])
        except (KafkaError, OSError):
            return False
        finally:
            with contextlib.suppress(KafkaError, OSError):
                await admin.close()


async def _format(runtime: Runtime, home: Path) -> None:
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    format_storage = runtime.command(
        *("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}"),
        *(f"--config={PROPERTIES}", *FORMATTING),
    )
    complaint = await run(format_storage, directory=home)
    if complaint is not None:
        last = "".join(complaint.splitlines()[-1:])
        raise StackError(f"Kafka could not format its storage in {home}: {last}")


@contextlib.contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
