"""The Helm chart: linted and rendered by Helm itself, valid for Kubernetes, and as the code is."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from execstream.agents.runtime.probe_port import LIVE, READY
from execstream.agents.worker import ROLES
from execstream.config.settings import PREFIX, Settings
from tests.clients.program import PATIENCE, run
from tests.fetching import program
from tests.worker import HOME

pytestmark = [
    pytest.mark.fetched,
    pytest.mark.timeout(2 * PATIENCE),
]

HELM = "helm.sh/helm/v3/cmd/helm@v3.18.6"
CHART = HOME / "ops" / "helm" / "execstream"
FOLDER = Path(__file__).parent / "helm"
VALUES = {"default": None, "production": "production.yaml", "small": "small.yaml"}
VERSIONS = ("1.29", "1.37")
KUBE = ("--kube-version", VERSIONS[0])
ALL = ("apply", "bridge", "server", "tally")

Resource = dict[str, Any]


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Helm, built from its source, and with the schemas of Kubernetes."""
    made = tmp_path_factory.mktemp("helm")
    built = HOME / "build" / "helm"  # takes minutes, and stays
    await run(made, program("go"), "install", HELM, variables={"GOBIN": str(built)})
    (made / "helm").symlink_to(built / "helm")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps")
    needs = ("--require-hashes", "-r", FOLDER / "requirements.txt")
    await run(made, *pip, "--target", made / "schemas", *needs)
    return made


@pytest.fixture(scope="module", params=VALUES)
async def rendered(request: pytest.FixtureRequest, folder: Path) -> tuple[str, list[Resource]]:
    """The name of the values, and the resources that the chart makes with them."""
    file = VALUES[request.param]
    values = () if file is None else ("--values", FOLDER / file)
    helm = folder / "helm"
    await run(folder, helm, "lint", "--strict", CHART, *values)
    text = await run(folder, helm, "template", "live", CHART, *KUBE, *values)
    (folder / f"{request.param}.yaml").write_text(text)
    return request.param, [one for one in yaml.safe_load_all(text) if one]


async def test_resources_are_valid(rendered: tuple[str, list[Resource]], folder: Path) -> None:
    """For the oldest and the newest version of Kubernetes, without an unknown property."""
    path = os.pathsep.join([str(folder / "schemas"), *sys.path])
    for version in VERSIONS:
        check = ("-m", "kubernetes_validate", "--strict", "-k", version, f"{rendered[0]}.yaml")
        await run(folder, sys.executable, *check, variables={"PYTHONPATH": path})


async def test_long_names_differ(folder: Path) -> None:
    """Resources of a release with the longest name have names of their own."""
    release = "r" * 53
    text = await run(folder, folder / "helm", "template", release, CHART, *KUBE)
    named = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(text) if one]
    assert len(set(named)) == len(named)


async def test_wrong_values_are_refused(folder: Path) -> None:
    """A misspelt value is an error and not left out."""
    with pytest.raises(AssertionError, match="replica"):
        await run(
            folder, folder / "helm", "template", CHART, *KUBE, "--set", "workers.apply.replica=3"
        )


async def test_pods_are_as_the_code_is(rendered: tuple[str, list[Resource]]) -> None:
    """Roles, ports, probes, settings, user and limits are those of the code and of compose."""
    name, resources = rendered
    pods = {labels["app.kubernetes.io/component"]: spec for labels, spec in _pods(resources)}
    serving = [role for role in ALL if name != "small" or role != "server"]
    jobs = ["migrate"] if name == "small" else ["migrate", "topics"]
    assert sorted(pods) == sorted([*serving, *jobs])
    compose = yaml.safe_load((HOME / "docker-compose.yml").read_text())["services"]
    dockerfile = (HOME / "Dockerfile").read_text()
    for role, pod in pods.items():
        [container] = pod["containers"]
        assert f"--uid {pod['securityContext']['runAsUser']} " in dockerfile
        assert container["args"][: len(compose[role]["command"])] == compose[role]["command"]
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"]
        assert confined["capabilities"] == {"drop": ["ALL"]}
        assert {variable.removeprefix(PREFIX) for variable in _variables(container)} <= KNOWN
    for role in serving:
        [container] = pods[role]["containers"]
        port = Settings.model_fields["http_port" if role == "server" else f"{role}_port"].default
        assert container["ports"] == [{"name": "http", "containerPort": port}]
        probed = [container[kind]["httpGet"] for kind in PROBES]
        assert [one["path"] for one in probed] == [LIVE, LIVE, READY]
        assert (
            f"{pods[role]['terminationGracePeriodSeconds']}s"
            == (compose[role]["stop_grace_period"])
        )
    assert set(ROLES) - {"all"} <= set(pods)


PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
KNOWN = {
    (field.alias or name).removeprefix(PREFIX).upper()
    for name, field in Settings.model_fields.items()
}


async def test_workers_restart_without_a_rebalance(rendered: tuple[str, list[Resource]]) -> None:
    """Each pod is the member of its consumer groups that its name says, after a restart, too."""
    sets = [one for one in rendered[1] if one["kind"] == "StatefulSet"]
    assert len(sets) == 3
    for one in sets:
        [container] = one["spec"]["template"]["spec"]["containers"]
        named = _variables(container)["EXECSTREAM_GROUP_INSTANCE"]
        assert named == {"fieldRef": {"fieldPath": "metadata.name"}}


async def test_secrets_are_only_referred_to(rendered: tuple[str, list[Resource]]) -> None:
    """The chart makes no secret, and no variable of a pod has an address."""
    kinds = {one["kind"] for one in rendered[1]}
    assert "Secret" not in kinds
    assert "ConfigMap" not in kinds
    for _, pod in _pods(rendered[1]):
        [container] = pod["containers"]
        assert container["envFrom"]
        hidden = {"KAFKA_BOOTSTRAP", "POSTGRES_DSN", "REDIS_URL", "HTTP_TOKEN"}
        assert not {name.removeprefix(PREFIX) for name in _variables(container)} & hidden


def _pods(resources: list[Resource]) -> list[tuple[Mapping[str, str], Resource]]:
    """The labels and specifications of pods."""
    templates = [one["spec"]["template"] for one in resources if "template" in one.get("spec", {})]
    return [(one["metadata"]["labels"], one["spec"]) for one in templates]


def _variables(container: Resource) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}
