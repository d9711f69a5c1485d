"""The page about the states, which is generated."""

from pathlib import Path

from execstream.streams.state_machine import render
from execstream.streams.statuses import ALLOWED_FROM

PAGE = Path(__file__).parents[2] / "docs" / "state_machine.md"


def test_the_page_is_as_the_table_is_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), (
        "It is stale: python -m execstream.streams.state_machine > docs/state_machine.md"
    )


def test_the_diagram_has_an_arrow_for_every_move() -> None:
    """Every allowed move, and besides these only beginnings and ends."""
    arrows = [line.split(":")[0].split() for line in render().splitlines() if "-->" in line]
    moves = {(was, to) for was, _, to in arrows if "[*]" not in (was, to)}
    assert moves == {(was, to) for to, sources in ALLOWED_FROM.items() for was in sources}
