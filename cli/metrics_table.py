"""The metrics as a page of the documentation.

`python -m execstream.cli.metrics_table > docs/metrics.md` writes it; a test fails when it is stale.
"""

import sys
from collections.abc import Iterator
from types import ModuleType

import prometheus_client.metrics
from prometheus_client import Counter

from execstream.agents.runtime import metrics as worker_metrics
from execstream.dashboard import metrics as server_metrics

_PAGE = """\
# Metrics

Made from `agents/runtime/metrics.py` and `dashboard/metrics.py` by
`python -m execstream.cli.metrics_table > docs/metrics.md`; change them there.

Workers answer `GET /metrics`, in Prometheus' text format, at `EXECSTREAM_WORKER_HOST` and the port
of their role: `EXECSTREAM_APPLY_PORT`, `EXECSTREAM_TALLY_PORT`, `EXECSTREAM_BRIDGE_PORT`. The HTTP
server answers at its own address, with the token when it has one. Dashboards and alert rules that
use them are in `ops/`. Beside these there are Python's and the process's own (`python_…`,
`process_…`). Numbers begin anew with every process; what must be exact is in Postgres
(`consumer_offset`).

## Workers

{workers}

A worker shows what its role does: batches that are folded and published are of role `apply`, live
tables of role `tally`. Lag and positions are of the partitions a worker owns; add workers up. The
end of a partition is known from the last fetch.

## HTTP server

{server}
"""


def render() -> str:
    """The whole page."""
    return _PAGE.format(
        workers="\n".join(_table(worker_metrics)), server="\n".join(_table(server_metrics))
    )


def _table(module: ModuleType) -> Iterator[str]:
    yield "| name | kind | labels | what |"
    yield "| --- | --- | --- | --- |"
    for metric in vars(module).values():
        if isinstance(metric, prometheus_client.metrics.MetricWrapperBase):
            [family] = metric.describe()
            name = family.name + ("_total" if isinstance(metric, Counter) else "")
            labels = metric._labelnames  # noqa: SLF001 - told nowhere else
            labelled = ", ".join(f"`{label}`" for label in labels)
            yield f"| `{name}` | {family.type} | {labelled} | {family.documentation} |"


if __name__ == "__main__":
    sys.stdout.write(render())
