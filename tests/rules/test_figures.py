"""docs/figures.md: every published number has its window, its source and its delay."""

from collections import Counter

import pytest
from prometheus_client import Counter as CountingMetric
from prometheus_client.metrics import MetricWrapperBase

from docs.figures import DOCUMENTS, MODELS, SCHEMAS, Figure, numeric_fields, schemas
from docs.generate import DOCS
from execstream.agents.runtime import metrics as worker_metrics
from execstream.dashboard import metrics as server_metrics
from execstream.dashboard import minute_metrics
from execstream.storage.models.summaries import ExecutionDiagnostics

PAGE = (DOCS / "figures.md").read_text(encoding="utf-8")
NUMBERS = {name: fields for name, schema in schemas().items() if (fields := numeric_fields(schema))}


def told(figures: list[Figure]) -> Counter[str]:
    return Counter(field for figure in figures for field in figure.fields.split())


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() | SCHEMAS.keys()))
def test_every_number_of_openapi_has_a_row(name: str) -> None:
    """And no row is of something else. A new field goes into docs/figures.py, then `make docs`."""
    assert told(SCHEMAS.get(name, [])) == Counter(NUMBERS.get(name, []))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_number_of_the_other_models_has_a_row(model: type) -> None:
    fields = numeric_fields(model.model_json_schema(mode="serialization"))  # type: ignore[attr-defined]
    assert told(MODELS[model]) == Counter(fields)


@pytest.mark.parametrize("module", [worker_metrics, server_metrics, minute_metrics])
def test_every_metric_has_a_row(module: object) -> None:
    for metric in vars(module).values():
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            name = family.name + ("_total" if isinstance(metric, CountingMetric) else "")
            assert f"| `{name}` |" in PAGE


def test_every_row_says_all_of_it() -> None:
    """Window, source and delay."""
    rows = [row for some in (SCHEMAS, MODELS, DOCUMENTS) for row in some.values()]
    for figure in (figure for figures in rows for figure in figures):
        assert all(figure), figure


def test_a_number_within_something_is_found() -> None:
    """In lists, tuples and dictionaries, and where null may stand too."""
    integer = {"type": "integer"}
    parts = {
        "plain": {"type": "number"},
        "perhaps": {"anyOf": [integer, {"type": "null"}]},
        "listed": {"type": "array", "items": {"type": "array", "prefixItems": [{}, integer]}},
        "by_name": {"type": "object", "additionalProperties": integer},
        "text": {"type": "string"},
        "referred": {"$ref": "#/components/schemas/Other"},
    }
    assert numeric_fields({"properties": parts}) == ["plain", "perhaps", "listed", "by_name"]
    assert len(numeric_fields(ExecutionDiagnostics.model_json_schema())) == 17
