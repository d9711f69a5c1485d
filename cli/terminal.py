"""The two consoles and the texts of a terminal, through which goes everything that is printed.

Ids, keys, names, errors and values come from strangers. None of it is markup, and characters that
would act at a terminal are escaped (`escape_controls`). Strings are one line each: their line
feeds are escaped, too, except those of a `Block`. A style of ours is given with a `Text`.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from rich import console, segment, table, text

from execstream.cli.bands import GAP, INDENT, Bands, Share, bands_of, width_of
from execstream.cli.endings import end_without_reader
from execstream.streams.text import escape_controls

WIDE = 1_000_000  # columns, where there is no terminal: a row is one line, for `grep` and `awk`


class Text(text.Text):
    """Rich's `Text` that escapes its text; the only one for modules of the program."""

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

    def on_broken_pipe(self) -> None:
        """End like a program with a closed output, instead of rich's exit code 1."""
        end_without_reader()

    def render_str(self, text: str, **options: Any) -> text.Text:
        """Make a `Text` of a string."""
        options |= {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(escape_controls(text), **options)

    def render(
        self, renderable: console.RenderableType, options: console.ConsoleOptions | None = None
    ) -> Iterable[segment.Segment]:
        """Render, and escape text that did not pass `Text` and `render_str`."""
        for part in super().render(renderable, options):
            if part.control is None and not part.text.isprintable():
                yield segment.Segment(escape_controls(part.text, is_block=True), part.style)
            else:
                yield part


class Table(table.Table):
    """Rich's `Table`, with strings in cells made `Text` at once.

    Only columns of `free` text are cut. A row that does not fit at the terminal takes several
    lines, each with some of its columns, and so does the header.
    """

    def __init__(self, free: Collection[str] = (), **options: Any) -> None:
        super().__init__(**{"box": None, "pad_edge": False} | options)
        self._free = frozenset(free)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row; a cell is a string, or anything that rich can render."""
        super().add_row(*(Text(one) if isinstance(one, str) else one for one in cells), **options)

    def __rich_console__(
        self, console: console.Console, options: console.ConsoleOptions
    ) -> console.RenderResult:
        """Render as wide as the console, or in bands."""
        columns = [[column.header, *column.cells] for column in self.columns]
        texts = [[cell for cell in column if isinstance(cell, text.Text)] for column in columns]
        if [*map(len, texts)] != [*map(len, columns)]:  # bars
            return super().__rich_console__(console, options)
        shares = [Share(_width(cells), str(cells[0]) in self._free) for cells in texts]
        if width_of(shares) <= options.max_width:
            return super().__rich_console__(console, options)
        bands = bands_of(shares, options.max_width)
        return (
            line
            for number, row in enumerate(zip(*texts, strict=True))
            for line in _lines_of(row, bands, "bold" if number == 0 else "")
        )


def _width(cells: Iterable[text.Text]) -> int:
    """Columns of the terminal that the widest of these cells takes."""
    return max(cell.cell_len for cell in cells)


def _lines_of(row: Sequence[text.Text], bands: Bands, style: str) -> Iterator[Text]:
    """A line per band that has anything; one that is still too long goes on in the next line."""
    for number, band in enumerate(bands):
        if number and not any(row[slot.column].plain.strip() for slot in band):
            continue
        line = Text(" " * INDENT if number else "", style, overflow="fold")
        for place, slot in enumerate(band):
            cell = row[slot.column].copy()
            if cell.justify == "right":
                cell.align("right", slot.width)
            cell.truncate(slot.width, overflow="ellipsis", pad=place < len(band) - 1)
            line.append_text(cell)
            if place < len(band) - 1:
                line.append(" " * GAP)
        yield line


out = Terminal(width=None if sys.stdout.isatty() else WIDE)
err = Terminal(stderr=True)
