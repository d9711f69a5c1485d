"""Faust waits a second for tables at the start of a process, and one for tasks at its end. Here
tables are there before the start, and tasks are waited for by themselves."""

import asyncio
import logging

import faust
from faust.tables.manager import TableManager as FaustTableManager

TASKS_PATIENCE = 1.0  # seconds, as Faust has it


class TableManager(FaustTableManager):
    """Waits of apps that declare all tables before they start."""

    logger = logging.getLogger("faust")  # its level is that of Faust

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class Worker(faust.Worker):
    """Ends as soon as the tasks that it cancelled have ended."""

    async def _sentinel_task(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=TASKS_PATIENCE)
