"""The live tables of the tally's workers, asked of each and put together."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from execstream.config.settings import Settings
from execstream.streams.topics import EVENTS
from execstream.streams.totals.live_values import merged

PATIENCE = 2.0  # seconds for a worker to answer


def tally_urls(settings: Settings) -> Sequence[str]:
    """Where the workers answer; when the settings do not name them, one at its port of this
    machine."""
    if settings.tally_urls is not None:
        return settings.tally_urls.split(",")
    return [f"http://127.0.0.1:{settings.tally_port}"] if settings.tally_port else []


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
