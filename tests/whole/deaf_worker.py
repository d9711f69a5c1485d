"""The worker that fetches nothing more from SIGRTMIN on: `python -m tests.whole.deaf_worker`."""

import asyncio
import signal
from typing import Any
from unittest.mock import patch

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from tests import worker

FOREVER = 3_600.0  # seconds


def main() -> None:
    is_deaf = False
    fetch = AIOKafkaConsumerThread._fetch_records

    def deafen(*_: object) -> None:
        nonlocal is_deaf
        is_deaf = True

    async def fetch_or_not(self: AIOKafkaConsumerThread, *args: Any, **options: Any) -> Any:
        if is_deaf:
            await asyncio.sleep(FOREVER)
        return await fetch(self, *args, **options)

    signal.signal(signal.SIGRTMIN, deafen)
    with patch.object(AIOKafkaConsumerThread, "_fetch_records", fetch_or_not):
        worker.main()


if __name__ == "__main__":
    main()
