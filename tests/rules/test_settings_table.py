"""The page about the settings, which is generated."""

from pathlib import Path

from execstream.config.settings import Settings, variable
from execstream.config.settings_table import render

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_as_the_settings_are_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), (
        "It is stale: python -m execstream.config.settings_table > docs/settings.md"
    )


def test_every_setting_has_a_row() -> None:
    rows = [line for line in render().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [variable(name) for name in Settings.model_fields]
