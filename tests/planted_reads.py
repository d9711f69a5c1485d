"""All readers of an installation with planted rows, and the faults of their answers.

Reads come from the public names of `execstream.reads`, the routes of `/openapi.json` and the
commands of the program: a new one is tried without a word here, or fails the test until it has one.
"""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from execstream import reads
from execstream.cli import _COMMANDS
from execstream.storage.schema.tables import Table
from execstream.storage.unreadable_rows import UnreadableRow
from execstream.streams import exact_json
from execstream.streams.topics import COMMANDS
from tests.dashboard.sse import Subscription
from tests.orders import DAWN
from tests.planted_site import Site, Subject
from tests.planting import BROKEN, HEALTHY, Plant, planted, rounds
from tests.recovery.lived import drop

# About the program, not about rows, or read in a way of its own.
SKIPPED_ROUTES = {"/", "/v1/stream", "/v1/live/{table}"}
MOMENT = (DAWN + timedelta(seconds=5)).isoformat().replace("+00:00", "Z")
# The arguments of commands, with `{run}` and the like for ids of a run.
READS: dict[str, list[str]] = {
    "list": ["list --json", f"list --as-of {MOMENT}", "list --user {user} --json"],
    "bulk": ["bulk terminate --user {user} --json"],
    "show": ["show {run} --json", "show {run}", "show {run} --as-of 4 --json"],
    "diff": ["diff {run} 1 5 --json"],
    "explain": ["explain {run} --json", "explain {run} {command}"],
    "trace": ["trace {run}", "trace {run} --json"],
    "stats": ["stats blocks --json"],
    "alerts": ["alerts list --all --json"],
    "budgets": ["budgets list --json"],
    "dlq": ["dlq list --json", "dlq show {letter} --json"],
    "quarantine": ["quarantine list --json", "quarantine show {run} --json"],
    "export": ["export --run {healthy} {broken} --out planted.zst --dry-run --json"],
    "rules": ["rules test --against {topic}"],
    "verify": ["verify {run} --json", "verify --all --json"],
    "offsets": ["offsets show --json"],
    "retention": ["retention plan --json"],
    "tokens": ["tokens list --json"],
    "audit": ["audit --json"],
    "forget": ["forget --user {user} --dry-run --json"],
    "doctor": ["doctor --json"],
    "watch": ["watch --once --json"],
    "replay": [
        "replay --into planted --source journal --json",
        "replay --into planted --json",
        "replay --events --to-redis --rate 0 --json",
    ],
}
# These take a second or more.
SLOW = ("doctor", "watch", "replay", "verify --all")
# And these some tenths of it.
WITH_KAFKA = ("rules", "offsets", "verify", "explain {run} {command}")
# Write, never end, or read nothing that is stored.
NO_READS = {"up", "demo", "worker", "serve", "topics", "migrate", "emit", "check", "simulate"}
NO_READS |= {"listen", "config", "schema", "import", "archive", "mcp"}


def answers(text: str, verify: tuple[str, ...]) -> bool:
    """Return whether `text` names one of the commands."""
    return any(f"`{command}`" in text for command in verify)


async def reads_failing(site: Site) -> list[str]:
    """Public reads that fail in another way than by naming `verify` for the broken run. Those that
    name nothing are asked once."""
    wrong, asked = [], set()
    for name, read in vars(reads).items():
        for of in (HEALTHY, BROKEN) if inspect.iscoroutinefunction(read) else ():
            values = arguments(read, site.subjects[of])
            if (name, str(values)) not in asked:
                asked.add((name, str(values)))
                if error := await failure(read(site.db, **values), site.verify(of)):
                    wrong.append(f"{name} of the {of} run: {error}")
    return wrong


def arguments(read: Callable[..., Awaitable[Any]], of: Subject) -> dict[str, Any]:
    """The arguments that the read needs to find `of`, without further filters."""
    _, *parameters = inspect.signature(read).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty]
    return {name: of.parameters[name] for name in needed}


async def failure(answer: Awaitable[Any], verify: tuple[str, ...]) -> str | None:
    """The error of a read, if it is not one that names a way out of `verify`."""
    try:
        await answer
    except UnreadableRow as error:
        return None if answers(str(error), verify) else str(error)
    except reads.PastIsGone as error:  # `trimmed_at` is planted
        return None if verify else str(error)
    except Exception as error:  # noqa: BLE001 - any other one is a defect
        return repr(error)[:200]
    return None


async def routes(http: httpx.AsyncClient) -> list[tuple[str, list[str]]]:
    """The paths that are read, with the names of their parameters."""
    described = (await http.get("/openapi.json")).json()
    found = []
    for path, operations in described["paths"].items():
        if "get" in operations and path not in SKIPPED_ROUTES:
            parameters = operations["get"].get("parameters", ())
            found.append((path, [one["name"] for one in parameters if one.get("required")]))
    return found


async def routes_failing(site: Site) -> list[str]:
    """Routes that answer with an error of the server, but for one that names `verify`."""
    wrong, asked = [], set()
    for path, names in await routes(site.http):
        for of in (HEALTHY, BROKEN):
            url, query = address(path, names, site.subjects[of])
            if (url, str(query)) not in asked:
                asked.add((url, str(query)))
                if error := await _route_failure(site, of, url, query):
                    wrong.append(f"{url} of the {of} run: {error}")
    return wrong


def address(path: str, names: list[str], of: Subject) -> tuple[str, dict[str, Any]]:
    """A path with its parameters filled in, and those of the query."""
    values = {name: str(of.parameters[name]) for name in names}
    in_path = {name for name in names if f"{{{name}}}" in path}
    return path.format(**values), {k: v for k, v in values.items() if k not in in_path}


async def _route_failure(site: Site, of: str, url: str, query: dict[str, Any]) -> str | None:
    try:
        answer = await site.http.get(url, params=query)
    except httpx.RemoteProtocolError as error:  # a large answer had begun, and is cut
        is_expected = of == BROKEN and site.subjects[of].orders.run_id in url
        return None if is_expected else str(error)
    assert answer.status_code != 429, url
    if answer.status_code < 500 or answers(answer.text, site.verify(of)):
        return None
    return answer.text[:200]


async def streams_failing(site: Site) -> list[str]:
    """Streams that do not begin, or lack an event of the healthy run."""
    wrong = []
    healthy = site.subjects[HEALTHY].orders
    scopes: tuple[dict[str, str], ...] = (
        {},
        {"user_id": HEALTHY},
        {"graph_exec_id": healthy.run_id},
    )
    for scope in scopes:
        for last_id in ("", site.begin):
            try:
                async with (
                    asyncio.timeout(60),
                    Subscription(str(site.http.base_url), last_id, **scope) as stream,
                ):
                    stream.decode = exact_json.decode  # which takes numbers of any length
                    if last_id:
                        await _all_events(stream, healthy.run_id)
                    else:
                        await stream.next("snapshot")
            except (AssertionError, TimeoutError, ValueError, OSError, EOFError) as error:
                wrong.append(f"/v1/stream {scope} after {last_id!r}: {error!r}")
    broken = {"graph_exec_id": site.subjects[BROKEN].orders.run_id}
    async with site.http.stream("GET", "/v1/stream", params=broken) as answer:
        if answer.status_code >= 500:
            text = (await answer.aread()).decode()
            if not answers(text, site.verify(BROKEN)):
                wrong.append(f"/v1/stream of the broken run: {text[:200]}")
    return wrong


async def _all_events(stream: Subscription, run_id: str) -> None:
    """Read up to the last event of the run, each of which must come."""
    seqs: list[int] = []
    while len(seqs) < LAST_ENTRY:
        data = (await stream.next("event")).data
        if data.get("graph_exec_id") == run_id and "seq" in data:
            seqs.append(data["seq"])
    assert seqs == list(range(1, LAST_ENTRY + 1)), seqs


LAST_ENTRY = 11  # of `life`
CRASHES = "crashes with"
# The answers about a run that is another's, hidden, trimmed or without waiting records.
ABSENT = re.compile(
    "^(There (is|was) no |Nothing (of|is recorded of) |Retention dropped)", re.MULTILINE
)


async def commands_failing(site: Site, *, leaving_out: tuple[str, ...]) -> list[str]:
    """Commands that crash, or do not print their output about the healthy run."""
    wrong = []
    for command, of in asked_commands(site, leaving_out=leaving_out).items():
        code, out, err = await site.run(command)
        if "replay --into" in command:
            await drop(site.place.db, "planted")
        if complaint := _complaint(site, command, of, code, out, err):
            wrong.append(f"`{command}` {complaint}")
        site.untouched.setdefault(command, out)
    return wrong


def _complaint(site: Site, command: str, of: str, code: int, out: str, err: str) -> str | None:
    """The fault in the end of a command."""
    if "Traceback" in err or code not in (0, 1):
        return f"{CRASHES} {code}: {err[-600:]}"
    if of == BROKEN:
        is_told = out or answers(err, site.verify(BROKEN)) or ABSENT.search(err) or code == 0
        return None if is_told else f"does not name verify: {err[-300:]}"
    before = site.untouched.get(command, out)
    if before and not out:
        return f"prints nothing: {err[-300:]}"
    is_of_healthy = command.startswith(("show", "diff", "explain"))
    return "prints something else" if is_of_healthy and out != before else None


def asked_commands(site: Site, *, leaving_out: tuple[str, ...]) -> dict[str, str]:
    """All reads of the program, and whether they are about the broken run alone."""
    assert READS.keys() | NO_READS == _COMMANDS.keys()
    runs = {name: one.orders.run_id for name, one in site.subjects.items()}
    topic = site.place.topic(COMMANDS.name)
    return {
        one.format(**site.subjects[of].parameters | runs, topic=topic): of
        for of in (BROKEN, HEALTHY)  # output that names neither run is about others, too
        for several in READS.values()
        for one in several
        if not (leaving_out and one.startswith(leaving_out))
    }


@dataclass
class Trial:
    """The result of planting values: `wrong` in words, crashes among it."""

    combinations: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        crashes = sum(CRASHES in one for one in self.wrong)
        routes = sum(one.startswith("/") for one in self.wrong)
        others = len(self.wrong) - crashes - routes
        return (
            f"{self.combinations} combinations: {crashes} crashes, {routes} routes that answer "
            f"others with 500 or more, {others} other reads that fail for others"
        )


async def everything_failing(site: Site, *, leaving_out: tuple[str, ...]) -> list[str]:
    """All reads at once that do not do as they should."""
    found = await asyncio.gather(
        reads_failing(site),
        routes_failing(site),
        streams_failing(site),
        commands_failing(site, leaving_out=leaving_out),
    )
    return [one for some in found for one in some]


async def nothing_crashing(site: Site, *, leaving_out: tuple[str, ...]) -> list[str]:
    """Readers that crash, or return another answer, when rows without an owner are changed."""
    found = await asyncio.gather(
        reads_failing(site),
        routes_failing(site),
        commands_failing(site, leaving_out=leaving_out),
    )
    reads_, routes_, commands = found
    return [*reads_, *routes_, *(one for one in commands if CRASHES in one)]


async def tried(
    site: Site,
    everything: Sequence[Plant],
    *,
    each_alone: Collection[Table] = (),
    leaving_out: tuple[str, ...],
) -> Trial:
    """Plant these values, and read everything but by some commands; see `rounds`."""
    trial = Trial()
    for is_of_all, read in ((False, everything_failing), (True, nothing_crashing)):
        chosen = [one for one in everything if site.is_of_all(one) is is_of_all]
        for some in rounds(chosen, each_alone=each_alone):
            placed = [(plant, site.where(plant.table)) for plant in some]
            async with planted(site.place.db, placed) as present:
                found = await read(site, leaving_out=leaving_out)
            values = " and ".join(map(str, present))
            trial.combinations += len(present)
            trial.wrong += [f"{one} after {values}" for one in found]
    return trial
