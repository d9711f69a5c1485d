"""docker-compose.yml, brought up under a name and at ports of its own.

Every secret it needs is made up here. Other variables, such as those that name images, are taken
from the environment. COMPOSE names the program: `docker compose`, or `docker-compose`.
"""

import json
import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from execstream.config.settings import Settings
from execstream.devstack.ports import HOST, free_ports

HOME = Path(__file__).parents[2]
PROJECT = "execstream-check"
USER = "execstream"  # of Postgres, and of Redis; and a database
PORTS = ("KAFKA_PORT", "POSTGRES_PORT", "REDIS_PORT", "HTTP_PORT")
SECRETS = (
    *("POSTGRES_PASSWORD", "REDIS_PASSWORD", "EXECSTREAM_HTTP_TOKEN"),
    *("POSTGRES_WORKER_PASSWORD", "POSTGRES_SERVER_PASSWORD"),
)
HEALTHY_WITHIN = 120.0  # seconds
POLL = 0.2  # seconds


class Failed(Exception):
    """A step failed; the message has the reason."""


class Composed:
    """The running services, and acts on them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        program = shlex.split(os.environ.get("COMPOSE") or "docker compose")
        # Not the .env of the developer.
        self._compose = [*program, "--env-file", ".env.example", "--project-name", PROJECT]
        self._variables = variables

    @property
    def url(self) -> str:
        """The URL of the HTTP server."""
        return f"http://{HOST}:{self._variables['HTTP_PORT']}"

    @property
    def token(self) -> str:
        return self._variables["EXECSTREAM_HTTP_TOKEN"]

    def settings(self) -> Settings:
        """The settings for a program on this machine."""
        ports = {name: self._variables[name] for name in PORTS}
        of_postgres, of_redis = (self._variables[name] for name in SECRETS[:2])
        return Settings().at(
            kafka_bootstrap=f"{HOST}:{ports['KAFKA_PORT']}",
            postgres_dsn=f"postgresql://{USER}:{of_postgres}@{HOST}:{ports['POSTGRES_PORT']}/{USER}",
            redis_url=f"redis://{USER}:{of_redis}@{HOST}:{ports['REDIS_PORT']}/0",
        )

    def build(self) -> None:
        self._run("build")

    def up(self, apply: int = 1) -> None:
        """Bring up the services that do not run, with so many workers of role apply; return when
        all are healthy.
        """
        self._run("up", "--detach", "--no-build", "--scale", f"apply={apply}")
        until = time.monotonic() + HEALTHY_WITHIN
        while unwell := [name for name, state in self._states() if not _is_well(state)]:
            if time.monotonic() > until:
                raise Failed(f"Not healthy after {HEALTHY_WITHIN:.0f} s: {', '.join(unwell)}.")
            time.sleep(POLL)

    def follow(self, manual: str) -> None:
        """Run commands that a manual gives for the project `execstream`."""
        own = manual.replace("docker compose", shlex.join(self._compose))
        own = own.replace("execstream_postgres", f"{PROJECT}_postgres")
        _run(["bash", "-euo", "pipefail", "-c", own], self._variables)

    def down(self) -> None:
        """Take everything away, data too; the image stays."""
        self._run("down", "--volumes", "--timeout", "20")

    def logs(self) -> str:
        return self._run("logs", "--tail", "20", "--no-color")

    def containers(self, service: str) -> list[str]:
        """Ids of its containers."""
        return self._run("ps", "--quiet", service).split()

    def _states(self) -> Iterator[tuple[str, dict[str, Any]]]:
        ids = self._run("ps", "--quiet").split()
        for container in json.loads(docker("inspect", *ids)):
            yield container["Name"], container["State"]

    def _run(self, *arguments: str) -> str:
        return _run([*self._compose, *arguments], self._variables)


def docker(*arguments: str) -> str:
    """The output of `docker`; Failed when it fails."""
    return _run(["docker", *arguments], {})


def _run(command: list[str], variables: Mapping[str, str]) -> str:
    environment = os.environ | variables
    done = subprocess.run(
        command, cwd=HOME, env=environment, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise Failed(f"{shlex.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _is_well(state: dict[str, Any]) -> bool:
    """Return whether it is healthy, or at its end if it has no health check."""
    if "Health" in state:
        return bool(state["Health"]["Status"] == "healthy")
    return bool(state["Status"] == "exited" and state["ExitCode"] == 0)


@contextmanager
def composed() -> Iterator[Composed]:
    """Nothing runs yet; at the end of the block, nothing does again."""
    ports = zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)
    own = Composed(dict(ports) | {name: secrets.token_hex(16) for name in SECRETS})
    try:
        yield own
    finally:
        own.down()
