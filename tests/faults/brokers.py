"""Three brokers with three replicas of each partition, of which two must have a record."""

import asyncio
import shutil
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from execstream.devstack import Stack, kafka, start
from execstream.devstack.jars import VERSION, cache_directory
from execstream.devstack.java import find_java
from execstream.devstack.ports import HOST, free_ports
from execstream.devstack.processes import run
from execstream.devstack.server import Server
from tests.faults.scenarios import repeated, under_load
from tests.faults.trial import Outcome, Trial

BROKERS = (1, 2, 3)
AWAY = 3.0, 8.0  # seconds without one of them
REPLICATED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
}


async def lose_one(_: Stack, folder: Path, seed: int, times: int) -> Outcome:
    """Kill one of three brokers at a time, on a stack of its own."""
    state = folder / "three-brokers"
    stack = await start(state, report=lambda _: None)
    try:
        await _replace_broker(stack)
        script = repeated(kill_one)
        return await under_load(script, replicas=len(BROKERS))(stack, folder, seed, times)
    finally:
        await stack.stop()
        shutil.rmtree(state, ignore_errors=True)


async def kill_one(trial: Trial) -> None:
    """SIGKILL of one broker, which comes back after a while."""
    name = _name(trial.chance.choice(BROKERS))
    await trial.stack.kill(name)
    await asyncio.sleep(trial.chance.uniform(*AWAY))
    await trial.stack.restart(name)


def _name(number: int) -> str:
    return f"kafka-{number}"


async def _replace_broker(stack: Stack) -> None:
    """Have three brokers in the place of the stack's one."""
    await stack.kill("kafka")
    del stack._servers["kafka"]
    ports = free_ports(2 * len(BROKERS))
    pairs = dict(zip(BROKERS, zip(ports[::2], ports[1::2], strict=True), strict=True))
    voters = ",".join(f"{number}@{HOST}:{pair[1]}" for number, pair in pairs.items())
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    stack.kafka_bootstrap = ",".join(f"{HOST}:{pair[0]}" for pair in pairs.values())
    brokers = {
        _name(number): await _prepare(stack.state / _name(number), number, pair, voters, cluster)
        for number, pair in pairs.items()
    }
    await asyncio.gather(*(stack.bring_up(name, one) for name, one in brokers.items()))


async def _prepare(
    home: Path, number: int, ports: tuple[int, int], voters: str, cluster: str
) -> Server:
    """Write the settings of a broker, format its storage, and return how to run it."""
    runtime = kafka.Runtime(find_java(), cache_directory() / f"kafka-{VERSION}")
    port, controller_port = ports
    home.mkdir()
    settings = {
        **kafka.SETTINGS,
        **REPLICATED,
        "node.id": str(number),
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.quorum.voters": voters,
        "log.dirs": "data",
    }
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    (home / kafka.PROPERTIES).write_text(text)
    format_storage = runtime.command(
        *("kafka.tools.StorageTool", "format"),
        *(f"--cluster-id={cluster}", f"--config={kafka.PROPERTIES}"),
    )
    complaint = await run(format_storage, directory=home)
    assert complaint is None, complaint

    async def is_ready() -> bool:
        return await kafka.answers_metadata(port)

    command = runtime.command("kafka.Kafka", kafka.PROPERTIES)
    return Server("Kafka", command, ports, home / "kafka.log", is_ready, directory=home)
