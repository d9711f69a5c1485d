"""The page about the metrics, which is generated."""

from pathlib import Path

from execstream.cli.metrics_table import render

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_as_the_metrics_are_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), (
        "It is stale: python -m execstream.cli.metrics_table > docs/metrics.md"
    )
