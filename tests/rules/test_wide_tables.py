"""Tables at a terminal of 80 columns: ids, statuses and figures are whole, free text is cut."""

import io

import pytest

from execstream.cli.common import table
from execstream.cli.terminal import WIDE, Terminal

RUN = "0198c8f0-0000-7000-8000-0000000000aa"
OWNER = "9c9ed1ab-6c0a-4b0e-8f0c-1d5f1c1d2e3f"
CREATED = "2026-03-01 06:30:00"
LONG = "a block that is named at length, " * 8


def rendered(width: int, *, is_terminal: bool = True) -> list[str]:
    """Lines of a table of one run."""
    rows = table("run", "status", "created", "error", "user", "graph", free=("error",))
    rows.add_row(RUN, "TERMINATED", CREATED, LONG, OWNER, "newsletter 1")
    file = io.StringIO()
    Terminal(file=file, width=width, force_terminal=is_terminal, color_system=None).print(rows)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [*range(40, 180), 400])
def test_nothing_but_free_text_is_cut(width: int) -> None:
    """No line is wider than the terminal, and every id, status and time is there in one piece."""
    lines = rendered(width)

    assert all(len(line) <= width for line in lines)
    for whole in (RUN, "TERMINATED", CREATED, OWNER, "newsletter 1"):
        assert sum(whole in line for line in lines) == 1
    assert any("…" in line for line in lines) == (width < 400)


@pytest.mark.parametrize("width", range(40, 140))
def test_nothing_is_cut_without_free_text(width: int) -> None:
    """Nor where a row is just as wide as the terminal, or a little wider."""
    rows = table("run", "status", "created", "user")
    rows.add_row(RUN, "TERMINATED", CREATED, OWNER)
    file = io.StringIO()
    Terminal(file=file, width=width, force_terminal=True, color_system=None).print(rows)

    assert "…" not in file.getvalue()
    assert all(whole in file.getvalue() for whole in (RUN, "TERMINATED", CREATED, OWNER))


def test_rows_are_told_apart() -> None:
    """Only the first line of a row begins at the margin, and the header stands in bands, too."""
    lines = rendered(80)

    at_margin = [line.split()[0] for line in lines if not line.startswith("  ")]
    assert at_margin == ["run", RUN]
    assert len(lines) == 4


def test_an_id_wider_than_the_terminal_goes_on_below() -> None:
    rows = table("key", "status")
    rows.add_row("k" * 100, "DEAD")
    file = io.StringIO()
    Terminal(file=file, width=80, force_terminal=True, color_system=None).print(rows)

    assert file.getvalue().count("k") == 101
    assert "…" not in file.getvalue()


def test_a_pipe_gets_one_line_for_each_row() -> None:
    """Whatever its length, so that `grep` and `awk` work."""
    lines = rendered(WIDE, is_terminal=False)

    assert len(lines) == 2
    assert all(whole in lines[1] for whole in (RUN, "TERMINATED", CREATED, OWNER))
