"""The probes of several processes of one worker, as one: asked at their sockets, merged, answered.

The worker is alive when all of its processes are, and ready when all are. Their counters are
summed; so that a sum never falls when a process ends, the counts of ended processes stay in it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from execstream.agents.runtime.local_hosts import answer_local_hosts
from execstream.agents.runtime.probe_port import LIVE, METRICS, READY, is_free
from execstream.agents.runtime.tasks import spawn
from execstream.config.identity import Identity
from execstream.config.settings import Settings

PATIENCE = 3.0  # seconds for a process to answer, which asks servers for 2
SERVERS = ("postgres", "kafka", "redis")
SILENT = "does not answer"

# Of these the largest is that of the worker: they are the same for all, or of one partition, which
# two processes may both have for a moment.
_LARGEST = (
    "execstream_lag_seconds",
    "execstream_position_timestamp_seconds",
    "process_start_time_seconds",
)
_COUNTED = ("counter", "histogram")

SampleKey = tuple[str, tuple[tuple[str, str], ...]]  # name and labels


class Answer(NamedTuple):
    """The answer of a process: HTTP status and body."""

    status: int
    body: str

    @property
    def is_well(self) -> bool:
        return self.status == HTTPStatus.OK


Answers = Mapping[int, Answer | None]  # by number of the process; None: it is silent


@asynccontextmanager
async def answer_for(
    settings: Settings, role: str, sockets: Mapping[int, Path]
) -> AsyncIterator[None]:
    """Answer at the port of `role` for the processes that listen at `sockets`, by number."""
    host, port = settings.worker_host, getattr(settings, f"{role}_port")
    if not port or not is_free(host, port):
        yield
        return
    async with AsyncExitStack() as open_:
        sessions = {
            number: await open_.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)))
            )
            for number, socket in sockets.items()
        }
        identity = Identity(settings, role)
        learning = spawn(identity.learn())
        open_.callback(learning.cancel)
        runner = web.AppRunner(_application(host, identity, sessions, sockets), access_log=None)
        await runner.setup()
        open_.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, host, port).start()
        yield


def _application(
    host: str,
    identity: Identity,
    sessions: Mapping[int, aiohttp.ClientSession],
    sockets: Mapping[int, Path],
) -> web.Application:
    counts = Counts()

    async def livez(_: web.Request) -> web.Response:
        return _answer(merge_life(await _ask(sessions, LIVE)), identity)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(merge_readiness(await _ask(sessions, READY)), identity)

    async def metrics(_: web.Request) -> web.Response:
        before = {number: _start_of(socket) for number, socket in sockets.items()}
        for number, answer in (await _ask(sessions, METRICS)).items():
            is_known = answer is not None and _start_of(sockets[number]) == before[number]
            counts.take(number, before[number], answer.body if answer and is_known else None)
        return web.Response(body=counts.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[answer_local_hosts(host)])
    app.add_routes([web.get(LIVE, livez), web.get(READY, readyz), web.get(METRICS, metrics)])
    return app


def _answer(document: dict[str, Any], identity: Identity) -> web.Response:
    is_well = document["status"] in ("alive", "held back", "ready")
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return web.json_response(document | identity.members, status=status)


async def _ask(sessions: Mapping[int, aiohttp.ClientSession], path: str) -> Answers:
    answers = await asyncio.gather(*(_ask_one(session, path) for session in sessions.values()))
    return dict(zip(sessions, answers, strict=True))


async def _ask_one(session: aiohttp.ClientSession, path: str) -> Answer | None:
    with suppress(aiohttp.ClientError, OSError):  # a time-out is an OSError, too
        async with asyncio.timeout(PATIENCE), session.get(f"http://localhost{path}") as answer:
            return Answer(answer.status, await answer.text())
    return None


def _start_of(socket: Path) -> int:
    """The time at which the process began to listen, in nanoseconds; 0 before the first time."""
    try:
        return socket.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def merge_life(answers: Answers) -> dict[str, Any]:
    """The answer to `/livez` of the worker; `silent` has the numbers of processes without an
    answer.
    """
    said = [json.loads(answer.body) for answer in answers.values() if answer]
    silent = [number for number, answer in answers.items() if answer is None]
    stalled = sorted({one for document in said for one in document["stalled"]})
    held = sorted({one for document in said for one in document["held_back"]})
    status = "silent" if silent else "held back" if held else "alive"
    return {
        "status": "stalled" if stalled else status,
        "stalled": stalled,
        "held_back": held,
        "silent": silent,
    }


def merge_readiness(answers: Answers) -> dict[str, Any]:
    """The answer to `/readyz` of the worker; `waiting` names processes without an answer, too."""
    said = [json.loads(answer.body) for answer in answers.values() if answer]
    silent = {f"process {number}": SILENT for number, one in answers.items() if one is None}
    is_ready = all(answer is not None and answer.is_well for answer in answers.values())
    return {
        "status": "ready" if is_ready else "not ready",
        **{server: all(one[server] for one in said) and bool(said) for server in SERVERS},
        "reasons": _merge(document["reasons"] for document in said),
        "waiting": _merge(document["waiting"] for document in said) | silent,
    }


def _merge(documents: Iterable[dict[str, str]]) -> dict[str, str]:
    return {name: reason for document in documents for name, reason in document.items()}


class Counts(Collector):
    """Metrics of several processes, added up."""

    def __init__(self) -> None:
        self._starts: dict[int, int] = {}
        self._now: dict[int, dict[SampleKey, float]] = {}
        self._ended: dict[SampleKey, float] = {}  # counts of processes that ended
        self._families: dict[str, Metric] = {}
        self._family_of: dict[str, str] = {}  # by name of a sample

    def take(self, number: int, start: int, exposition: str | None) -> None:
        """Take in the metrics of a process that began at `start`; None when it is silent. Its last
        counts stay, also when it is gone and another has its number.
        """
        counted = {
            key: value for key, value in self._now.pop(number, {}).items() if self._is_count(key)
        }
        if self._starts.get(number, start) != start:
            for key, value in counted.items():
                self._ended[key] = self._ended.get(key, 0) + value
            counted = {}
        self._starts[number] = start
        self._now[number] = counted if exposition is None else dict(self._read(exposition))

    def collect(self) -> Iterable[Metric]:
        """The sums, in the order in which processes list them."""
        sums = dict(self._ended)
        for samples in self._now.values():
            for key, value in samples.items():
                is_sum = key[0] not in _LARGEST and not key[0].endswith("_info")
                known = sums.get(key)
                sums[key] = (
                    value if known is None else known + value if is_sum else max(known, value)
                )
        made = {
            name: Metric(name, one.documentation, one.type) for name, one in self._families.items()
        }
        for (name, labels), value in sums.items():
            made[self._family_of[name]].add_sample(name, dict(labels), value)
        return made.values()

    def exposition(self) -> bytes:
        """The sums in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> Iterable[Metric]:
        return ()

    def _read(self, exposition: str) -> Iterable[tuple[SampleKey, float]]:
        for family in text_string_to_metric_families(exposition):
            self._families.setdefault(family.name, family)
            for sample in family.samples:
                self._family_of[sample.name] = family.name
                yield (sample.name, tuple(sample.labels.items())), sample.value

    def _is_count(self, key: SampleKey) -> bool:
        return self._families[self._family_of[key[0]]].type in _COUNTED
