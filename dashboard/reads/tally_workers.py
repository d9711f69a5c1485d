"""The live tables of the tally's workers, asked of each and put together."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import aiohttp

from execstream.config.identity import Installation
from execstream.config.settings import Settings
from execstream.streams.topics import EVENTS
from execstream.streams.totals.live_values import merged

PATIENCE = 2.0  # seconds for a worker to answer


def tally_urls(settings: Settings) -> Sequence[str]:
    """URLs of the workers; when the settings do not name them, the one at the tally's port of this
    machine.
    """
    if settings.tally_urls is not None:
        return settings.tally_urls.split(",")
    return [f"http://127.0.0.1:{settings.tally_port}"] if settings.tally_port else []


class LiveSums(NamedTuple):
    """Sums over the partitions that workers own; those that none reported; and the URLs at which a
    worker of another installation answered, whose figures are not in the sums.
    """

    data: list[dict[str, Any]]
    missing: list[int]
    foreign: list[str]


async def ask_tally_workers(urls: Sequence[str], table: str, own: Installation) -> LiveSums:
    """Ask the workers at `urls` for the sums of `table`, blocks or nodes."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        answers = await asyncio.gather(*(_ask(http, f"{url}/live/{table}") for url in urls))
    by_url = {url: answer for url, answer in zip(urls, answers, strict=True) if answer is not None}
    ours = [answer for answer in by_url.values() if _is_of(answer, own)]
    answered = {partition for answer in ours for partition in answer["partitions"]}
    return LiveSums(
        merged(value for answer in ours for value in answer["data"]),
        sorted(set(range(EVENTS.partitions)) - answered),
        [url for url, answer in by_url.items() if not _is_of(answer, own)],
    )


def _is_of(answer: dict[str, Any], own: Installation) -> bool:
    return own.cluster_id is not None and answer.get("installation") == asdict(own)


async def _ask(http: aiohttp.ClientSession, url: str) -> dict[str, Any] | None:
    """The answer of a worker; one that does not answer owns nothing."""
    try:
        async with http.get(url) as answer:
            answer.raise_for_status()
            answered: dict[str, Any] = json.loads(await answer.read())
            return answered
    except (aiohttp.ClientError, TimeoutError):
        return None
