"""The live tables of the tally's workers, asked of each and put together."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from execstream.streams.topics import EVENTS
from execstream.streams.totals.live_values import merged

PATIENCE = 2.0  # seconds for a worker to answer


async def ask_tally_workers(
    urls: Sequence[str], table: str
) -> tuple[list[dict[str, Any]], list[int]]:
    """The sums of `table`, blocks or nodes, over all partitions that anybody of `urls` owns; and
    the partitions that nobody told of."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        answers = await asyncio.gather(*(_ask(http, f"{url}/live/{table}") for url in urls))
    answered = {partition for answer in answers for partition in answer["partitions"]}
    missing = sorted(set(range(EVENTS.partitions)) - answered)
    return merged(value for answer in answers for value in answer["data"]), missing


async def _ask(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """What a worker tells; one that does not answer owns nothing."""
    try:
        async with http.get(url) as answer:
            answer.raise_for_status()
            answered: dict[str, Any] = json.loads(await answer.read())
            return answered
    except (aiohttp.ClientError, TimeoutError):
        return {"partitions": [], "data": []}
