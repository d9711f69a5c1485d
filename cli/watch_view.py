"""The display of an overview by `execstream watch`."""

import math
from collections import deque
from collections.abc import Collection

from rich.columns import Columns
from rich.console import Group
from rich.padding import Padding

from execstream.cli.alerts import STYLES as SEVERITIES
from execstream.cli.common import table
from execstream.cli.overview import Overview
from execstream.cli.terminal import Table, Text
from execstream.cli.words import STYLES, moment, status_text
from execstream.dashboard.reads.live_blocks import LiveBlock, Window

BARS = "▁▂▃▄▅▆▇█"
BAR_WIDTH = 30  # characters
SPARK_MINUTES = 30

MUCH = 10.0  # percent of failing steps that is worth a colour
LAG = 1_000  # records that are worth one


class View:
    """Draws the newest overview; `trouble`: the reason why there is none newer."""

    def __init__(self, seen: Overview) -> None:
        self.trouble = ""
        self._rates: deque[float] = deque(maxlen=BAR_WIDTH)
        self.take(seen)

    def take(self, seen: Overview) -> None:
        """Show this one from now on."""
        self._seen = seen
        self.trouble = ""
        self._rates.append(sum((seen.commands_per_second or {}).values()))

    def __rich__(self) -> Group:
        """All of it; rich asks for this at every refresh."""
        seen = self._seen
        parts: list[Columns | Table | Text] = [
            Columns([self._runs(), self._figures()], padding=(0, 6)),
            self._lag(),
            self._blocks(),
        ]
        if seen.alerts:
            parts.append(self._alerts())
        return Group(self._head(), *(Padding(part, (1, 0, 0, 0), expand=False) for part in parts))

    def _head(self) -> Text:
        line = Text(f"execstream  {moment(self._seen.at)} UTC", "bold")
        if self.trouble:
            line.append(f"   not up to date: {self.trouble}", "red")
        return line

    def _runs(self) -> Table:
        counts = self._seen.runs
        most = max(*counts.values(), 1)
        rows = table("runs", "", "")
        for status, count in counts.items():
            bar = Text("▇" * math.ceil(BAR_WIDTH * count / most), STYLES[status])
            rows.add_row(status_text(status), Text(f"{count:,}", justify="right"), bar)
        return rows

    def _figures(self) -> Table:
        seen = self._seen
        rates = seen.commands_per_second or {}
        rows = table("commands", "in all", f"per second, last {seen.seconds or 0:.0f} s", "of late")
        history = Text(spark(self._rates), "blue")
        for name, count in seen.commands.items():
            is_bad = count and name in {"refused", "dead", "quarantined"}
            rows.add_row(
                Text(_PLURALS.get(name, name), "yellow" if is_bad else ""),
                Text(f"{count:,}", justify="right"),
                Text(f"{rates.get(name, 0):,.0f}", justify="right"),
                history,
            )
            history = Text()  # of all of them, once
        return rows

    def _lag(self) -> Text:
        line = Text("lag  ")
        lag = self._seen.lag
        if lag is None:
            return line.append("unknown: Kafka does not answer", "red")
        for name, count in lag.items():
            line.append(f"{name} {count:,}   ", "yellow" if count >= LAG else "")
        return line if lag else line.append("nothing has been read yet", "dim")

    def _blocks(self) -> Table:
        rows = table(
            *("failing blocks", "1 m", "5 m", "1 h", "ended, 1 h", "p95, 1 h", "last 30 minutes"),
            free=("failing blocks",),
        )
        for block in self._seen.blocks:
            p95 = block.duration_ms.p95 if block.duration_ms else None
            rows.add_row(
                block.name or block.block_id,
                *(_rate(block.windows[window]) for window in ("1m", "5m", "1h")),
                f"{block.windows['1h'].ended:,}",
                "" if p95 is None else f"{p95 / 1_000:.2f} s",
                Text(spark(_failing(block)[-SPARK_MINUTES:], most=100.0), "red"),
            )
        return rows

    def _alerts(self) -> Table:
        rows = table(
            f"open alerts: {self._seen.open_alerts}", "opened", "where", "what", free=("what",)
        )
        for alert in self._seen.alerts:
            rows.add_row(
                Text(alert.severity, SEVERITIES[alert.severity]),
                moment(alert.opened_at),
                alert.block_id or alert.graph_exec_id or "",
                alert.title,
            )
        return rows


_PLURALS = {"duplicate": "duplicates", "refused": "refusals", "dead": "dead letters"}


def spark(values: Collection[float | None], most: float | None = None) -> str:
    """A bar per value, as high as it is among `most`, or the highest; a blank for None."""
    top = most or max((value for value in values if value is not None), default=0) or 1
    return "".join(
        " " if value is None else BARS[min(int(value / top * len(BARS)), len(BARS) - 1)]
        for value in values
    )


def _failing(block: LiveBlock) -> list[float | None]:
    """Percent of the steps that failed, by minute."""
    return [failed / ended * 100 if ended else None for _, ended, failed in block.minutes]


def _rate(window: Window) -> Text:
    if window.error_rate is None:
        return Text("–", "dim")
    return Text(f"{window.error_rate:.1f} %", "red" if window.error_rate >= MUCH else "")
