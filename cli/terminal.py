"""The two consoles and the texts of a terminal, through which goes everything that is printed.

Ids, keys, names, errors and values come from strangers. None of it is markup, and characters that
would act at a terminal are escaped (`escape_controls`). Strings are one line each: their line
feeds are escaped, too, except those of a `Block`. A style of ours is given with a `Text`.
"""

import sys
from collections.abc import Iterable
from typing import Any

from rich import console, segment, table, text

from execstream.streams.text import escape_controls

_WIDE = 240  # columns, where nobody's terminal sets a limit


class Text(text.Text):
    """Rich's `Text`, whose own text is escaped; the only one for modules of the program."""

    def __init__(self, text: str = "", *arguments: Any, **options: Any) -> None:
        super().__init__(escape_controls(text), *arguments, **options)

    def append(self, text: "text.Text | str", style: Any = None) -> "Text":
        """Add text, escaped, with an optional style."""
        super().append(escape_controls(text) if isinstance(text, str) else text, style)
        return self


class Block(text.Text):
    """A text of several lines, which keeps its line feeds and tabs."""

    def __init__(self, text: str, *arguments: Any, **options: Any) -> None:
        super().__init__(escape_controls(text, is_block=True), *arguments, **options)


class Terminal(console.Console):
    """A console that knows no markup, and lets no control character of a text through."""

    def render_str(self, text: str, **options: Any) -> text.Text:
        """Make a `Text` of a string."""
        options |= {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(escape_controls(text), **options)

    def render(
        self, renderable: console.RenderableType, options: console.ConsoleOptions | None = None
    ) -> Iterable[segment.Segment]:
        """Render, and escape what came past `Text` and `render_str`."""
        for part in super().render(renderable, options):
            if part.control is None and not part.text.isprintable():
                yield segment.Segment(escape_controls(part.text, is_block=True), part.style)
            else:
                yield part


class Table(table.Table):
    """Rich's `Table`, the strings of whose cells are made `Text` at once."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row; a cell is a string, or anything that rich can render."""
        super().add_row(*(Text(one) if isinstance(one, str) else one for one in cells), **options)


out = Terminal(width=None if sys.stdout.isatty() else _WIDE)
err = Terminal(stderr=True)
