"""The promises of docker-compose.yml, as far as they can be checked without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from execstream.config.settings import Settings, variable
from execstream.storage.redis import positions
from execstream.storage.schema.roles import Role

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
ONCE = {"migrate", "topics"}
OURS = ONCE | {"apply", "tally", "bridge", "server"}
# Images that begin as root, to give their volume to the user that the server then runs as.
BEGIN_AS_ROOT = {"postgres", "redis"}

_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded_and_watched(name: str) -> None:
    """It has a limit of memory and of logs, a health check unless it runs once, and ports that
    only this machine reaches."""
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["healthcheck"].get("disable", False) is (name in ONCE)
    assert ("restart" in service) is (name not in ONCE)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_gains_privileges(name: str) -> None:
    """No process of a service gets rights that it did not begin with, and only services with an
    image that begins as root have capabilities.
    """
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert (service.get("cap_drop") == ["ALL"]) is (name not in BEGIN_AS_ROOT)
    assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()


def test_every_image_is_a_variable() -> None:
    """Digests can be given to the images of all services and to the base of our own image."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    images = [service["image"] for service in SERVICES.values()]
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    argument = re.search(r"^ARG PYTHON_IMAGE=(\S+)\n", dockerfile, re.MULTILINE)
    built_with = SERVICES["apply"]["build"]["args"]["PYTHON_IMAGE"]
    assert all(re.fullmatch(r"\$\{\w+_IMAGE:-[^}]+\}", image) for image in images)
    assert set(bases) == {"${PYTHON_IMAGE}"}
    assert argument is not None
    assert built_with == f"${{PYTHON_IMAGE:-{argument[1]}}}"


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_runs_our_image_is_confined(name: str) -> None:
    """No capabilities, and nothing to write to but /tmp."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - in the container
    assert service["cap_drop"] == ["ALL"]
    assert "volumes" not in service


def test_workers_wait_for_what_they_need() -> None:
    """They wait not only until a service has been started, but until it is healthy or done."""
    for name in OURS - ONCE:
        waits = {on: how["condition"] for on, how in SERVICES[name]["depends_on"].items()}
        assert {on for on, how in waits.items() if how == "service_completed_successfully"} == ONCE
    for name in ONCE:
        (how,) = SERVICES[name]["depends_on"].values()
        assert how == {"condition": "service_healthy"}


def test_workers_can_be_scaled() -> None:
    """Nothing of theirs can be there only once."""
    for name in ("apply", "tally", "bridge"):
        assert not {"container_name", "ports", "hostname"} & SERVICES[name].keys()


def test_volumes_have_names() -> None:
    """Servers keep their data where `down` and `up` find it again."""
    for name in ("kafka", "postgres", "redis"):
        mounts = [mount.partition(":")[0] for mount in SERVICES[name]["volumes"]]
        assert [mount for mount in mounts if not mount.startswith("./")] == [name]


def test_the_server_asks_the_tally() -> None:
    """For its live tables, at the port where the tally listens."""
    asked = SERVICES["server"]["environment"]["EXECSTREAM_TALLY_URLS"]
    assert asked == f"http://tally:{Settings.model_fields['tally_port'].default}"


def test_alerts_can_be_set() -> None:
    """All their settings reach the role that raises them."""
    wanted = {variable(name) for name in Settings.model_fields if name.startswith("alert")}
    assert wanted <= SERVICES["tally"]["environment"].keys()


def test_no_secret_is_in_the_file() -> None:
    """Passwords and tokens have no default: without them nothing starts."""
    for name, how, _ in _VARIABLE.findall(TEXT):
        if "PASSWORD" in name or "TOKEN" in name:
            assert how == "?", name


def test_the_example_has_every_variable() -> None:
    """Required variables are there and empty; the others with their default, as a comment."""
    for name, how, default in _VARIABLE.findall(TEXT):
        line = f"{name}=" if how == "?" else f"#{name}={default}"
        assert re.search(f"^{re.escape(line)}", EXAMPLE, re.MULTILINE), line


def test_redis_reads_what_scripts_wrote() -> None:
    """When it starts, it does so as its user `default`, who needs the right to each command."""
    [rule] = re.findall("user default off (.*)", SERVICES["redis"]["command"][2])
    calls = re.findall(r"redis\.call\('(\w+)'", Path(positions.__file__).read_text())
    writing = {f"+{name.lower()}" for name in calls} - {"+hget", "+publish"}
    assert set(rule.split()) == {"~execution_*", "+multi", "+exec"} | writing


def test_no_server_is_open() -> None:
    """Each service has its role of Postgres, and none is the superuser; Redis admits clients with a
    password, and no other; no password is an argument of a process.
    """
    ours = SERVICES["apply"]["environment"]
    users = {name: _user(SERVICES[name]["environment"]) for name in OURS - {"topics"}}
    assert users == dict.fromkeys(("apply", "tally", "bridge"), Role.WORKER) | {
        "server": Role.SERVER,
        "migrate": "execstream",
    }
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] not in users.values()
    assert "//execstream:${REDIS_PASSWORD:?" in ours["EXECSTREAM_REDIS_URL"]
    *shell, settings = SERVICES["redis"]["command"]
    assert shell == ["sh", "-c"]
    assert "redis-server - <<" in settings
    assert "user default off" in settings
    for service in SERVICES.values():
        arguments = str(service.get("command")) + str(service["healthcheck"])
        assert not [one for one, *_ in _VARIABLE.findall(arguments) if "PASSWORD" in one]


def _user(environment: dict[str, str]) -> str:
    return environment["EXECSTREAM_POSTGRES_DSN"].split("://")[1].partition(":")[0]
