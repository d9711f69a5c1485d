"""Producers of the workers: idempotent, acknowledged by all replicas, patient with a broker."""

import asyncio
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from execstream.kafka.security import client_options

log = structlog.get_logger(__name__)

MAX_BATCH = 512 * 1024  # bytes
BROKER_RETRY = 1.0  # seconds


class LazyProducer:
    """Connects when it is first needed, and waits for an unavailable broker."""

    def __init__(self, bootstrap: str, **options: Any) -> None:
        self._options = {"bootstrap_servers": bootstrap, **client_options(), **options}
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def get(self) -> AIOKafkaProducer:
        """The connected producer."""
        async with self._starting:
            while self._producer is None:
                producer = AIOKafkaProducer(
                    enable_idempotence=True, acks="all", max_batch_size=MAX_BATCH, **self._options
                )
                try:
                    await producer.start()
                    self._producer = producer
                except KafkaConnectionError as error:
                    await producer.stop()
                    log.warning("broker_away", error=str(error))
                    await asyncio.sleep(BROKER_RETRY)
            return self._producer

    async def close(self) -> None:
        """Send the records in flight, and close."""
        if self._producer is not None:
            await self._producer.stop()
