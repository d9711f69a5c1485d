"""The targets of Prometheus and Grafana, and the image's packages."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client import REGISTRY, Info
from prometheus_client.metrics import MetricWrapperBase

from execstream import __version__
from execstream.agents.runtime import metrics as worker_metrics
from execstream.config.settings import Settings
from execstream.dashboard import metrics as server_metrics
from execstream.dashboard import minute_metrics
from execstream.streams.topics import TOPICS

ROOT = Path(__file__).parents[2]
ALERTS = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())
SCRAPES = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())["scrape_configs"]
DASHBOARDS = [
    json.loads(file.read_text()) for file in (ROOT / "ops/grafana/dashboards").glob("*.json")
]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]

_NAME = re.compile(r"\b(?:execstream|process)_[a-z_]+")
_LABELS = re.compile(r"(?:by|without) \(([^)]*)\)|\{([^}]*)\}")
_LABEL = re.compile(r"\b([a-z]+)(?=\s*(?:[,=)!]|$))")
_PROMETHEUS_OWN = {"job", "instance", "le"}
_OF_BUILD = {"version", "python"}  # an Info has the labels that it is given


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    for dashboard in DASHBOARDS:
        for panel in dashboard["panels"]:
            yield from (target["expr"] for target in panel.get("targets", ()))


def samples() -> dict[str, set[str]]:
    """The labels of every sample that a worker or the server can have, by its name."""
    found: dict[str, set[str]] = {}
    for collector, names in REGISTRY._collector_to_names.items():
        for name in names:
            found[name] = set(getattr(collector, "_labelnames", ()))
    return found


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_metrics_that_are_named_exist(expression: str) -> None:
    """With the labels that the expression asks for."""
    known = samples()
    named = _NAME.findall(expression)
    labels = {label for name in named for label in known.get(name, ())}
    labels |= _PROMETHEUS_OWN | (_OF_BUILD if "execstream_build_info" in named else set())
    asked = {
        label
        for by, matching in _LABELS.findall(expression)
        for label in _LABEL.findall(by or re.sub(r'"[^"]*"', "", matching))
    }

    assert set(named) <= known.keys()
    assert asked <= labels


def test_every_metric_is_on_the_dashboard() -> None:
    """Each metric of workers and the server is shown."""
    shown = " ".join(expressions())
    modules = (worker_metrics, server_metrics, minute_metrics)
    names = {metric._name for m in modules for metric in vars(m).values() if is_metric(metric)}
    assert names
    assert {name for name in names if name not in shown} == set()


def is_metric(value: object) -> bool:
    # An Info names a process and counts nothing.
    return isinstance(value, MetricWrapperBase) and not isinstance(value, Info)


def test_alerts_can_be_acted_upon() -> None:
    """Each has its severity, the fault and the remedy."""
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "remedy"}, rule["alert"]


def test_the_number_of_partitions_is_that_of_the_topics() -> None:
    """The alert about partitions without an owner counts them."""
    (rule,) = (rule for rule in RULES if rule["alert"] == "ExecstreamPartitionsWithoutOwner")
    counts = {t.partitions for t in TOPICS if t.name.endswith(("commands.v1", "events.v1"))}
    assert counts == {int(rule["expr"].rpartition("<")[2])}


def test_ports_are_the_usual_ones() -> None:
    """Prometheus asks where workers and the server listen when nothing else is set."""
    fields = Settings.model_fields
    for scrape in SCRAPES:
        (target,) = scrape["dns_sd_configs"]
        role = target["names"][0].replace("server", "http")
        assert target["port"] == fields[f"{role}_port"].default


def test_the_chart_is_of_this_version() -> None:
    """Its version, and that of the image that it runs."""
    chart = yaml.safe_load((ROOT / "ops/helm/execstream/Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_the_image_has_what_the_program_needs() -> None:
    """The image's requirements are lines of requirements.txt, and cover those of pyproject.toml."""
    every = _pinned(ROOT / "requirements.txt")
    image = _pinned(ROOT / "ops/image/requirements.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["worker"], *extras["server"]]
    needed = {canonicalize_name(Requirement(one).name) for one in requirements}

    assert image.items() <= every.items()
    assert _pinned(ROOT / "ops/image/build.txt").items() <= every.items()
    assert needed <= image.keys()


@pytest.mark.parametrize(
    "file",
    [
        "requirements.txt",
        "ops/image/requirements.txt",
        "ops/image/build.txt",
        "ops/sbom/requirements.txt",
        "ops/site/requirements.txt",
    ],
)
def test_packages_are_pinned_by_hash(file: str) -> None:
    """Each package has one version and at least one hash, and comes from pip's usual index."""
    for package, parts in _pinned(ROOT / file).items():
        version, hashes = [p for p in parts if "==" in p], [p for p in parts if "sha256:" in p]
        assert len(version) == 1, package
        assert hashes, package
        assert not [part for part in parts if "://" in part or part.startswith("--index")], package


def _pinned(file: Path) -> dict[str, frozenset[str]]:
    """Version and hashes by package."""
    lines = file.read_text().replace("\\\n", " ").splitlines()
    parts = [line.split() for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(p[0].partition("==")[0]): frozenset(p) for p in parts}
