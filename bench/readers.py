"""CPU of reading a record with each client of Kafka: aiokafka as it is, as the workers have it, and
librdkafka.

    python -m bench.readers [--records 200000] [--rounds 5] [--save]

Starts a broker of its own with simulated commands. Each round reads all of them in a new process,
as tuples of partition, offset, key, value and headers, and nothing else. Then each reads one small
batch that takes 300 MB when it is unpacked: the records it got, and its memory. librdkafka comes
with the package of contender B2.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench import quix_package, results
from bench.machine import peak_memory
from bench.stage import fill, installation, servers, simulated
from execstream.kafka import header_decoding
from execstream.streams.topics import COMMANDS, EVENTS

PARTS = range(COMMANDS.partitions)
MOST = 2_000  # records at a time
TIMEOUT = 0.1  # seconds
PATIENCE = 20.0  # seconds
PACKED = 300  # megabytes


async def _aiokafka(bootstrap: str, topic: str, count: int, give_up: float) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    parts = [TopicPartition(topic, number) for number in PARTS]
    consumer.assign(parts)
    await consumer.seek_to_beginning(*parts)
    read = 0
    while read < count and time.monotonic() < give_up:
        fetched = await consumer.getmany(timeout_ms=int(TIMEOUT * 1000), max_records=MOST)
        for records in fetched.values():
            read += len([(r.partition, r.offset, r.key, r.value, r.headers) for r in records])
    await consumer.stop()
    return read


async def _ours(bootstrap: str, topic: str, count: int, give_up: float) -> int:
    header_decoding.install()
    return await _aiokafka(bootstrap, topic, count, give_up)


async def _librdkafka(bootstrap: str, topic: str, count: int, give_up: float) -> int:
    import confluent_kafka  # noqa: PLC0415 - this side alone has it

    options = {"bootstrap.servers": bootstrap, "group.id": "readers", "enable.auto.commit": False}
    consumer = confluent_kafka.Consumer(options)
    consumer.assign([confluent_kafka.TopicPartition(topic, number, 0) for number in PARTS])
    read = 0
    while read < count and time.monotonic() < give_up:
        found = consumer.consume(MOST, TIMEOUT)
        read += len([(m.partition(), m.offset(), m.key(), m.value(), m.headers()) for m in found])
    consumer.close()
    return read


READERS: dict[str, Callable[[str, str, int, float], Awaitable[int]]] = {
    "aiokafka": _aiokafka,
    "aiokafka with bounded unpacking": _ours,
    "librdkafka": _librdkafka,
}


def read(name: str, bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """Read with one reader: µs of CPU a record, of all threads; records/s; megabytes at most."""
    begun, spent = time.monotonic(), time.process_time()
    reading = READERS[name](bootstrap, topic, count, begun + PATIENCE)
    found = asyncio.run(_awaited(reading))
    seconds, spent = time.monotonic() - begun, time.process_time() - spent
    memory = peak_memory(os.getpid()) / 1e6
    us = round(spent / max(found, 1) * 1e6, 3)
    return {"records": found, "us": us, "rate": round(found / seconds), "memory": round(memory)}


async def _awaited(reading: Awaitable[int]) -> int:
    return await reading


async def pack(bootstrap: str, topic: str) -> None:
    """Put one batch on partition 0 that takes PACKED megabytes when it is unpacked."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type="gzip",
        max_batch_size=2 * PACKED * 10**6,
        max_request_size=2 * PACKED * 10**6,
    )
    async with producer:
        batch = producer.create_batch()
        for _ in range(PACKED):
            batch.append(key=None, value=bytes(10**6), timestamp=None)
        await (await producer.send_batch(batch, topic, partition=0))


async def compare(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """All rounds of all readers, which take turns."""
    if reason := quix_package.fetch():
        print(f"librdkafka is left out: {reason}.", file=sys.stderr)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in READERS}
    if reason:
        del found["librdkafka"]
    path = os.pathsep.join([str(quix_package.FOLDER), str(quix_package.ROOT)])
    async with servers() as (addresses, _), installation(addresses, "readers") as settings:
        await fill(settings, simulated(options.records, "field"))
        topic, packed = (settings.topic_prefix + one.name for one in (COMMANDS, EVENTS))
        await pack(settings.kafka, packed)
        for _ in range(options.rounds):
            for name, rounds in found.items():
                figures = await _read_apart(name, settings.kafka, topic, options.records, path)
                rounds.append(figures)
        for name, rounds in found.items():
            figures = await _read_apart(name, settings.kafka, packed, PACKED, path)
            rounds[0] |= {"packed_records": figures["records"], "packed_mb": figures["memory"]}
    return found


async def _read_apart(
    name: str, bootstrap: str, topic: str, count: int, path: str
) -> dict[str, Any]:
    """Read in a process of its own."""
    words = (sys.executable, "-m", "bench.readers", "--reader", name)
    about = ("--bootstrap", bootstrap, "--topic", topic, "--records", str(count))
    said = await asyncio.to_thread(
        subprocess.check_output, [*words, *about], env=os.environ | {"PYTHONPATH": path}
    )
    found: dict[str, Any] = json.loads(said)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    parser.add_argument("--topic", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help="keep the figures for the manual")
    options = parser.parse_args()
    if options.reader:
        figures: Any = read(options.reader, options.bootstrap, options.topic, options.records)
        print(json.dumps(figures))
        return
    figures = asyncio.run(compare(options))
    print(json.dumps(figures | {"load": os.getloadavg()[0]}, indent=1))
    if options.save:
        results.save("readers", figures)


if __name__ == "__main__":
    main()
