"""Stopping runs of which a budget is used up, by ordinary commands.

The id of a command follows from run and budget. Sent again after a crash it is a duplicate, and
one that was applied is not sent again, so a run that somebody has resumed goes on.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog

from execstream.agents.budgets.spending import LiveRun, load_live_runs, load_stopped
from execstream.config.settings import Settings
from execstream.kafka.worker_producer import LazyProducer
from execstream.streams import exact_json
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.topics import COMMANDS
from execstream.streams.totals.alert_rules import Severity
from execstream.streams.totals.budgets import Action, Use, reason, stopping_id

MOST_REMEMBERED = 10_000  # commands that were sent and may not be applied yet

log = structlog.get_logger(__name__)


class Stopper:
    """Sends the commands; each once, as long as this worker remembers it."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic_prefix + COMMANDS.name
        self._producer = LazyProducer(settings.kafka, max_request_size=settings.max_command_bytes)
        self._sent: dict[str, None] = {}

    async def stop(self, connection: asyncpg.Connection, uses: Mapping[str, Use]) -> None:
        """Stop the live runs of `uses` that are at their limit, where the budget wants that."""
        for use in uses.values():
            if use.level == Severity.CRITICAL and use.budget.action == Action.TERMINATE:
                await self._stop(connection, use)

    async def close(self) -> None:
        await self._producer.close()

    async def _stop(self, connection: asyncpg.Connection, use: Use) -> None:
        day = use.spending.day
        runs = {
            run.id: (run, stopping_id(run.id, use.budget, day))
            for run in await load_live_runs(connection, use.spending)
        }
        asked = {
            run_id: command_id
            for run_id, (_, command_id) in runs.items()
            if command_id not in self._sent
        }
        if not asked:
            return
        stopped = await load_stopped(connection, asked)
        for run_id in asked.keys() - stopped:
            await self._send(*runs[run_id], use)
        self._remember(asked.values())

    async def _send(self, run: LiveRun, command_id: str, use: Use) -> None:
        producer = await self._producer.get()
        await producer.send_and_wait(
            self._topic,
            _command(run, command_id, use),
            key=run.id.encode(),
            partition=run.partition,
        )
        log.warning("run_stopped", run=run.id, budget=use.budget.id, command=command_id)

    def _remember(self, command_ids: Iterable[str]) -> None:
        self._sent |= dict.fromkeys(command_ids)
        for oldest in list(self._sent)[: len(self._sent) - MOST_REMEMBERED]:
            del self._sent[oldest]


def _command(run: LiveRun, command_id: str, use: Use) -> bytes:
    """The command that stops a run. It keeps the run's stats, and adds why as their `error`."""
    command: dict[str, object] = {
        "type": "graph.update",
        "id": command_id,
        "at": datetime.now(UTC),
        "user_id": run.user_id,
        "graph_exec_id": run.id,
        "status": ExecutionStatus.TERMINATED,
    }
    if run.stats is not None:
        stats: Any = exact_json.decode(run.stats)
        command["stats"] = stats | {"error": reason(use.budget, use.spending)}
    return exact_json.encode(command)
