"""No secret of the settings gets into logs, output, errors, metrics, exports or command lines."""

import asyncio
import signal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from execstream.devstack.ports import HOST, free_ports
from tests.orders import Orders
from tests.whole.doctoring import with_user
from tests.whole.program import Program
from tests.worker import Installation, until

CANARIES = {
    name: f"canary-{name}-7d1f0b"
    for name in ("http", "webhook", "path", "sasl", "postgres", "redis", "original", "tally")
}
HTTP = CANARIES["http"]
SHOWING = (("doctor",), ("doctor", "--json"), ("config", "show"), ("config", "show", "--json"))
PATHS = ("metrics", "v1/me", "v1/executions", "v1/health", "v1/tokens", "no-page")
COMMANDS = (*SHOWING, ("list",), ("topics", "check"), ("migrate",), ("verify",), ("dlq", "list"))


def passwords_of(place: Installation) -> set[str]:
    """Those with which the servers let in."""
    addresses = (place.settings.postgres, place.settings.redis)
    return {str(urlsplit(address).password) for address in addresses}


def variables_of(place: Installation, ports: list[int]) -> dict[str, str]:
    """Settings that work, with a secret in each that takes one, and every log line."""
    apply, http, nobody = ports
    return place.settings.environment() | {
        "EXECSTREAM_LOG_LEVEL": "debug",
        "EXECSTREAM_APPLY_PORT": str(apply),
        "EXECSTREAM_HTTP_PORT": str(http),
        "EXECSTREAM_HTTP_TOKEN": HTTP,
        "EXECSTREAM_ALERT_WEBHOOK_URL": f"http://{HOST}:{nobody}/{CANARIES['path']}",
        "EXECSTREAM_ALERT_WEBHOOK_SECRET": CANARIES["webhook"],
        "EXECSTREAM_KAFKA_SASL_USERNAME": "ada",
        "EXECSTREAM_KAFKA_SASL_PASSWORD": CANARIES["sasl"],
        "EXECSTREAM_ORIGINAL_DSN": f"postgresql://ada:{CANARIES['original']}@{HOST}:{nobody}/gone",
        "EXECSTREAM_TALLY_URLS": f"http://ada:{CANARIES['tally']}@{HOST}:{nobody}",
    }


async def output_of(program: Program, *arguments: str) -> str:
    """What it prints, whatever comes of it."""
    ended = await program(*arguments)
    return ended.out + ended.err


def command_lines() -> str:
    """Those of all processes, as `ps` shows them to everybody."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended
    return "\n".join(lines)


async def answered(url: str, token: str) -> str | None:
    """The answer, whatever its status; None while nobody answers."""
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
            return f"{answer.headers}{await answer.text()}"
    except aiohttp.ClientError:
        return None


_APPLIED = "select 1 from graph_execution where id = $1 and status = 'RUNNING'"


@pytest.mark.slow
async def test_secrets_that_work_are_nowhere(place: Installation, tmp_path: Path) -> None:
    """Commands, a worker and the server, everything at its most verbose; and an export."""
    run = Orders()
    await place.put([run.create(), run.start()])
    ports = free_ports(3)
    apply, http, _ = ports
    program = Program(tmp_path, variables_of(place, ports))
    async with (
        program.running("worker", "--role", "apply") as worker,
        program.running("serve") as server,
    ):
        outputs = [asyncio.ensure_future(one.communicate()) for one in (worker, server)]
        pages = [(f"http://{HOST}:{apply}/metrics", HTTP)]
        pages += [(f"http://{HOST}:{http}/{path}", HTTP) for path in PATHS]
        pages += [(f"http://{HOST}:{http}/{path}", "of-nobody") for path in PATHS]
        shown = [await until(partial(answered, *page)) for page in pages]
        shown.append(command_lines())
        assert "execstream worker --role apply" in shown[-1]
        await until(partial(place.db.fetchval, _APPLIED, run.run_id))
        for command in (*COMMANDS, ("export", "--run", run.run_id, "--out", "bundle")):
            shown += [await output_of(program, *command)]
        shown.append((tmp_path / "bundle").read_bytes().decode(errors="replace"))
        for process in (worker, server):
            process.send_signal(signal.SIGTERM)
        for output in outputs:
            shown += [text.decode() for text in await asyncio.wait_for(output, 60)]
    everything = "\n".join(shown)
    for secret in (*CANARIES.values(), *passwords_of(place)):
        assert secret not in everything
    for expected in ("execstream_", "EXECSTREAM_HTTP_TOKEN", run.run_id):  # so there is a lot
        assert expected in everything


@pytest.mark.slow
@pytest.mark.parametrize("server", ["kafka", "postgres", "redis"])
async def test_secrets_that_fail_are_nowhere(
    place: Installation, tmp_path: Path, server: str
) -> None:
    """The server of the one does not let in: commands end with sentences, and none repeats it."""
    variables = variables_of(place, free_ports(3))
    canary = CANARIES["sasl" if server == "kafka" else server]
    variables |= {
        "kafka": {"EXECSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        "postgres": {"EXECSTREAM_POSTGRES_DSN": with_user(place.settings.postgres, "ada", canary)},
        "redis": {"EXECSTREAM_REDIS_URL": with_user(place.settings.redis, "ada", canary)},
    }[server]
    program = Program(tmp_path, variables)
    shown = [await output_of(program, *command) for command in COMMANDS]
    shown.append(await output_of(program, "import", "--from", variables["EXECSTREAM_ORIGINAL_DSN"]))
    assert server in "".join(shown).lower()
    for secret in (*CANARIES.values(), *passwords_of(place)):
        assert secret not in "".join(shown)
