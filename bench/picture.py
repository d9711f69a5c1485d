"""The picture of docs/performance.md: rates, CPU by process, and latency, as one SVG."""

from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import escape

Rate = tuple[str, float, float, float]  # name, median, least, most
Split = tuple[str, dict[str, float]]  # name, µs a command by process

WIDTH, LEFT, RIGHT, LINE, GAP = 900, 110, 150, 22, 46  # pixels
BAR = WIDTH - LEFT - RIGHT
COLOURS = {
    "worker": "#4477aa",
    "apply": "#4477aa",
    "tally": "#66ccee",
    "bridge": "#228833",
    "http": "#ccbb44",
    "Postgres": "#ee6677",
    "Kafka": "#aa3377",
    "Redis": "#bbbbbb",
}


def picture(rates: list[Rate], splits: list[Split], latency: list[dict[str, Any]]) -> str:
    """The SVG as text."""
    parts: list[str] = []
    y = _panel(parts, 0, "commands/s, median; the line is min to max", _rate_bars(rates))
    y = _panel(parts, y, "µs of CPU a command, by process", _split_bars(splits))
    _legend(parts, y)
    y = _panel(
        parts, y + LINE, "milliseconds to the row, everything running", _latency_bars(latency)
    )
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}"'
    style = 'font-family="sans-serif" font-size="13" fill="#222222"'
    ground = f'<rect width="{WIDTH}" height="{y + 10}" fill="#ffffff"/>'
    return "\n".join([f"{frame} {style}>", ground, *parts, "</svg>", ""])


def _panel(parts: list[str], y: int, title: str, lines: Iterable[list[str]]) -> int:
    """Add a title and its bars; return the beginning of the next panel."""
    parts.append(f'<text x="8" y="{y + 26}" font-weight="bold">{escape(title)}</text>')
    y += GAP
    for line in lines:
        parts.append(f'<g transform="translate(0 {y})">')
        parts += [*line, "</g>"]
        y += LINE
    return y


def _rate_bars(rates: list[Rate]) -> Iterator[list[str]]:
    most = max((high for *_, high in rates), default=1)
    for name, rate, low, high in rates:
        at = [LEFT + BAR * value / most for value in (low, high)]
        yield [
            _text(8, name),
            _rect(
                LEFT, BAR * rate / most, "#4477aa" if name in ("everything", "apply") else "#999999"
            ),
            f'<path d="M{at[0]:.1f} 8H{at[1]:.1f}" stroke="#222222"/>',
            _text(max(at[1], LEFT + BAR * rate / most) + 6, f"{rate:,.0f}"),
        ]


def _split_bars(splits: list[Split]) -> Iterator[list[str]]:
    # The slowest would make all others invisible.
    shown = [(name, of) for name, of in splits if sum(of.values()) <= 400]
    most = max((sum(of.values()) for _, of in shown), default=1)
    for name, of in splits:
        if (name, of) not in shown:
            yield [_text(8, name), _text(LEFT, f"{sum(of.values()):,.0f}, beyond the scale")]
            continue
        x, parts = float(LEFT), [_text(8, name)]
        for process, spent in of.items():
            parts.append(_rect(x, BAR * spent / most, COLOURS[process]))
            x += BAR * spent / most
        yield [*parts, _text(x + 6, f"{sum(of.values()):.0f}")]


def _legend(parts: list[str], y: int) -> None:
    shown = [name for name in COLOURS if name != "apply"]  # a worker, too
    for index, process in enumerate(shown):
        x = LEFT + 95 * index
        parts.append(f'<g transform="translate(0 {y + 4})">')
        parts += [_rect(x, 10, COLOURS[process]), _text(x + 14, process), "</g>"]


def _latency_bars(latency: list[dict[str, Any]]) -> Iterator[list[str]]:
    quantiles = ("p50", "p95", "p99")
    most = max((one[name] for one in latency for name in quantiles), default=1)
    for one in latency:
        for name in quantiles:
            length = BAR * one[name] / most
            yield [
                _text(8, f"{one['rate']:,.0f}/s {name}"),
                _rect(LEFT, length, "#4477aa"),
                _text(LEFT + length + 6, f"{one[name]:.1f}"),
            ]


def _text(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="13">{escape(text)}</text>'


def _rect(x: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="1" width="{max(width, 0):.1f}" height="15" fill="{colour}"/>'
