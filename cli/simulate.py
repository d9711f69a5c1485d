"""`execstream simulate`: commands of simulated runs, to Kafka or into a file."""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, PositiveInt
from cyclopts.validators import Number
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn

from execstream.cli.common import Json, print_json, start
from execstream.cli.graphs import Graphs, read_graphs
from execstream.cli.terminal import Text, err
from execstream.kafka.producer import BulkProducer
from execstream.streams.topics import COMMANDS
from execstream.workload import EXAMPLE_GRAPHS, simulation
from execstream.workload.paced_sending import send_catalogue, send_paced
from execstream.workload.simulation import Mix, Sent

SEEDED_START = datetime(2026, 1, 1, tzinfo=UTC)

_MIXES = {"documented": Mix(), "field": Mix.field()}

Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]


async def simulate(
    *,
    graphs: Graphs = EXAMPLE_GRAPHS,
    runs: PositiveInt = 100,
    rate: NonNegativeFloat = 0,
    failures: Share = 0.03,
    mix: Literal["documented", "field"] = "documented",
    seed: int | None = None,
    to: Path | None = None,
    _json: Json = False,  # it is always JSON
) -> int:
    """Make the commands of runs of real agent graphs.

    Parameters
    ----------
    graphs
        Directory of graphs to walk.
    runs
        How many runs, besides the child runs they start.
    rate
        Commands per second; 0 for as fast as it goes.
    failures
        Share of runs that fail, and of steps that do.
    mix
        `documented` is the mix of docs/simulation.md, with payloads of up to 900 kB; `field` has
        small commands as producers send them, with text that costs to clean and 1 % odd records.
    seed
        The same seed makes the same bytes, with times from 2026-01-01 on. Without it runs are
        new, and begin now.
    to
        File to write to, one command per line, instead of sending them.
    """
    walked = read_graphs(graphs)
    commands = simulation.simulate(
        walked,
        runs=runs,
        seed=secrets.randbits(63) if seed is None else seed,
        start=datetime.now(UTC) if seed is None else SEEDED_START,
        mix=replace(_MIXES[mix], failures=failures),
    )
    if to is not None:
        print_json({"written": simulation.write_lines(to, _shown(commands))})
        return 0
    settings = start()
    await send_catalogue(settings, walked)
    async with BulkProducer(settings.kafka, settings.topic_prefix + COMMANDS.name) as producer:
        await send_paced(producer, _shown(commands), rate)
    print_json({"sent": producer.sent, "acknowledged": producer.acknowledged})
    return 0 if producer.acknowledged == producer.sent else 1


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:.0f} commands")


def _shown(commands: Iterable[Sent]) -> Iterator[Sent]:
    """The same commands, counted at the terminal on their way."""
    columns = (SpinnerColumn(), _Count(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("")
        for number, command in enumerate(commands, start=1):
            if number % 1000 == 0:
                progress.update(task, completed=number)
            yield command
