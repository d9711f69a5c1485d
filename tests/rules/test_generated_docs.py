"""The generated parts of the manuals."""

import pytest

from docs.generate import (
    ACLS,
    DOCS,
    FILES,
    PAGES,
    PARTS,
    SCRIPTS,
    rendered,
    settings_table,
    state_diagram,
)
from execstream.cli.common import indented_json
from execstream.config.settings import Settings, variable
from execstream.dashboard.error_codes import ERROR_CODES
from execstream.streams.outcomes import DeadReason, QuarantineReason, Refusal
from execstream.streams.statuses import ALLOWED_FROM


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_as_the_code_is_now(page: str) -> None:
    """No part of a page is stale."""
    assert (DOCS / page).read_text(encoding="utf-8") == rendered(page), "It is stale: make docs"


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_as_the_code_is_now(file: str) -> None:
    """No file that is generated as a whole is stale."""
    found = (DOCS / file).read_text(encoding="utf-8")
    assert found == indented_json(FILES[file]()) + "\n", "It is stale: make docs"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_as_the_code_is_now(name: str) -> None:
    """No generated script is stale."""
    assert (ACLS / name).read_text(encoding="utf-8") == SCRIPTS[name](), "It is stale: make docs"


def test_every_part_is_in_a_page() -> None:
    """No part is made in vain."""
    pages = "".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in PARTS if f"<!-- generated: {name} -->" not in pages] == []


def test_every_setting_has_a_row() -> None:
    """The rows of the settings are the fields, in their order."""
    rows = [line for line in settings_table() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [variable(name) for name in Settings.model_fields]


def test_the_diagram_has_an_arrow_for_every_move() -> None:
    """Besides the allowed moves it has only beginnings and ends."""
    arrows = [line.split(":")[0].split() for line in state_diagram() if "-->" in line]
    moves = {(was, to) for was, _, to in arrows if "[*]" not in (was, to)}
    assert moves == {(was, to) for to, sources in ALLOWED_FROM.items() for was in sources}


CODES = {code.value for kind in (Refusal, DeadReason, QuarantineReason) for code in kind}


def test_every_code_has_a_heading() -> None:
    """Reasons and types of problems can be linked to, and no heading is about another."""
    page = rendered("reference/errors.md")
    headings = [line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")]
    codes = [one for one in headings if not one.startswith("exit code ")]
    assert sorted(codes) == sorted([*CODES, *ERROR_CODES])
