"""Send the largest legal commands of one user to one partition, in a process of their own.

    python -m bench.large_commands BOOTSTRAP [--seconds 30] [--megabytes 2] [--size 8388608]

Creations of `--size` bytes with as many entries as are legal, `--megabytes` per second of them. One
is encoded once and gets other ids each time, so that the sender takes little CPU from what is
measured. Prints how much was sent.
"""

import argparse
import asyncio
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from execstream.streams.growth import MAX_ENTRIES, MAX_PINS
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS, EVENTS

THEIRS = 0  # the partition of the user with the largest commands
_ROOM = 700  # bytes of a creation beside its values, and of a pin beside its own
_PIN = 9


def encode_command(type_: str, run_id: str, user: str, **fields: Any) -> bytes:
    command = {
        "type": type_,
        "id": str(uuid.uuid4()),
        "at": datetime.now(UTC).isoformat(),
        "user_id": user,
        "graph_exec_id": run_id,
    }
    return json.dumps(command | fields, separators=(",", ":")).encode()


def run_on_their_partition() -> str:
    """A new run's id that belongs to THEIRS."""
    while partition_of((run_id := str(uuid.uuid4())).encode(), COMMANDS.partitions) != THEIRS:
        pass
    return run_id


def large_command(run_id: str, size: int) -> bytes:
    """A creation of some `size` bytes, with as many entries as are legal."""
    counts = (MAX_PINS, MAX_ENTRIES - MAX_PINS - 3)
    value = "x" * max((size - _ROOM) // sum(counts) - _PIN, 0)
    pins: list[dict[str, Any]] = [{format(one, "x"): value for one in range(n)} for n in counts]
    nodes = [{"node_id": "n", "block_id": "b", "inputs": inputs} for inputs in pins]
    about = {"graph_id": "g", "graph_version": 1, "starting_nodes": nodes}
    return encode_command("graph.create", run_id, "large", **about)


async def send(bootstrap: str, seconds: float, rate: float, size: int) -> None:
    """Send so many bytes per second."""
    begun, sent, run_id = time.monotonic(), 0, run_on_their_partition()
    value = large_command(run_id, size)
    command_id = json.loads(value)["id"]
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, max_request_size=EVENTS.max_message_bytes
    ) as producer:
        while time.monotonic() < begun + seconds:
            other = run_on_their_partition()
            about = value[:_ROOM].replace(run_id.encode(), other.encode())
            about = about.replace(command_id.encode(), str(uuid.uuid4()).encode())
            record = about + value[_ROOM:]
            await producer.send_and_wait(COMMANDS.name, record, other.encode(), partition=THEIRS)
            sent += len(record)
            await asyncio.sleep(max(begun + sent / rate - time.monotonic(), 0))
    print(json.dumps({"large_commands_mb": round(sent / 1e6), "bytes_of_one": len(value)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--megabytes", type=float, default=2)
    parser.add_argument("--size", type=int, default=8 * 1024 * 1024)
    options = parser.parse_args()
    asyncio.run(send(options.bootstrap, options.seconds, options.megabytes * 1e6, options.size))


if __name__ == "__main__":
    main()
