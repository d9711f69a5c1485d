"""Reports of this installation's workers at the ports of this machine.

No worker need run here: those that do not answer are passed over.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from execstream.cli.diagnosis.finding import Examined, Finding
from execstream.config.settings import Settings

PATIENCE = 2.0  # seconds
MOST_BYTES = 1024 * 1024  # of an answer

_workers = Examined("workers")
_UNREADABLE = re.compile(r"^execstream_unreadable_rows ([0-9.e+]+)$", re.MULTILINE)


async def examine_workers(settings: Settings) -> AsyncIterator[Finding]:
    """Check that none of them has met stored rows that it could not read."""
    urls = list(_urls(settings))
    answers = await asyncio.gather(*(asyncio.to_thread(_unreadable, url, settings) for url in urls))
    counts = {url: count for url, count in zip(urls, answers, strict=True) if count is not None}
    for url, count in counts.items():
        if count:
            yield _workers.warning(
                "rows",
                f"the worker at {url} has met rows of {count:,} runs or tables that it cannot read",
                "Run `execstream verify --all`: it names the rows, and the way out. The log of the "
                "worker has the runs (`unreadable_row`).",
            )
    if counts and not any(counts.values()):
        yield _workers.ok("rows", f"{len(counts)} on this machine could read all that they met")


def _urls(settings: Settings) -> Iterator[str]:
    for port in (settings.apply_port, settings.tally_port, settings.bridge_port):
        if port:
            yield f"http://127.0.0.1:{port}"


def _unreadable(url: str, settings: Settings) -> int | None:
    """The number of such rows since the worker's start; None when none of this installation
    answers.
    """
    try:
        installation = json.loads(_get(f"{url}/livez")).get("installation", {})
        found = _UNREADABLE.search(_get(f"{url}/metrics"))
    except (URLError, OSError, ValueError, AttributeError):
        return None
    of_ours = {"schema": settings.schema_, "topic_prefix": settings.topic_prefix}
    if found is None or not of_ours.items() <= installation.items():
        return None
    return int(float(found[1]))


def _get(url: str) -> str:
    # A proxy of the environment is not for this machine.
    opener = build_opener(ProxyHandler({}))
    try:
        answer = opener.open(url, timeout=PATIENCE)
    except HTTPError as refused:  # by a worker that is not alive
        answer = refused
    with answer:
        body: bytes = answer.read(MOST_BYTES)
    return body.decode(errors="replace")
