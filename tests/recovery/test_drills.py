"""Drills with a backup or an archive, by the commands of the runbooks alone.

`tests/faults` runs the same as rows of its table, with more commands.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from execstream.devstack import Addresses
from execstream.streams.topics import COMMANDS, TOPICS
from tests.recovery.lived import delete_before, simulated
from tests.recovery.runbooks import Shell, Step, administer, own_database, steps_of
from tests.recovery.test_offsets import lost_and_made_again
from tests.recovery.test_runbooks import goes_on, lived, rows_of, working
from tests.worker import Installation, installation, until

FEW = 300  # simulated commands
_BLOCKS = "select count(*) from block"


class Drill(NamedTuple):
    """Servers with topics and a database of a drill's own; `commands`: of simulated ones."""

    stack: Addresses
    place: Installation
    shell: Shell
    folder: Path
    commands: int

    async def run(self, *steps: Step) -> None:
        """Run steps of a runbook as the operator does, with the names that it asks for."""
        name = self.place.settings.postgres.rpartition("/")[2]
        for step in steps:
            await self.shell.run(
                step,
                ADMIN_DSN=self.stack.postgres_dsn,
                DATABASE=name,
                ARCHIVE=str(self.folder / "archive"),
                BACKUP=str(self.folder / "backup.sql"),
            )

    async def lose_database(self) -> None:
        """Lose the database and everything in it."""
        name = self.place.settings.postgres.rpartition("/")[2]
        await administer(self.stack, f"drop database {name} with (force)")

    async def goes_on_with(self, rows: dict[str, list[str]], *checks: Step) -> None:
        """Workers start again, the rows are these, and new commands have their effect."""
        await self.place.db.expire_connections()
        async with working(self.place):
            await until(lambda: self.place.db.fetchval(_BLOCKS))
        found = await rows_of(self.place.db)
        assert [name for name in rows if found[name] != rows[name]] == []
        async with working(self.place):
            await goes_on(self.place)
        await self.run(*checks)


@asynccontextmanager
async def drill(stack: Addresses, folder: Path, commands: int) -> AsyncIterator[Drill]:
    """A drill with servers of `stack`."""
    async with own_database(stack) as database, installation(database, folder) as place:
        yield Drill(stack, place, Shell(folder, place.settings), folder, commands)


async def database_lost_beyond_retention(drill: Drill) -> None:
    """The topic has lost its older half when the database goes: the archive has it."""
    _follow, check_archive = steps_of("An archive")
    mend, check = steps_of("Lost database, with an archive")
    rows = await lived(drill.place, drill.commands)
    await drill.run(check_archive)
    ends = await drill.place._ends(COMMANDS.name)
    await delete_before(drill.place, {number: end // 2 for number, end in ends.items()})
    await drill.lose_database()
    await drill.run(mend)
    await drill.goes_on_with(rows, check)


async def older_backup(drill: Drill) -> None:
    """Commands that came after the backup are applied again, each once."""
    mend, check = steps_of("Older backup")
    place = drill.place
    await lived(place, drill.commands)
    dump = (
        'pg_dump --schema "${EXECSTREAM_SCHEMA:-execstream}" "$EXECSTREAM_POSTGRES_DSN" > "$BACKUP"'
    )
    await drill.run(Step(dump, ""))
    async with working(place):
        await place.put(simulated(drill.commands, seed=8))
    rows, events = await rows_of(place.db), await place.events()
    await drill.run(mend)
    await drill.goes_on_with(rows, check)
    for partition, records in (await place.events()).items():
        assert records[: len(events[partition])] == events[partition]


async def topics_and_database_lost(drill: Drill) -> None:
    """Everything is gone but the archive; commands that came to the new topics are applied too."""
    _follow, check_archive = steps_of("An archive")
    mend, check = steps_of("Lost topics and database")
    rows = await lived(drill.place, drill.commands)
    await drill.run(check_archive)
    for _ in range(2):  # the archive then has the commands of two topics
        await drill.lose_database()
        await lost_and_made_again(drill.place, *(topic.name for topic in TOPICS))
        await drill.run(mend)
        await drill.goes_on_with(rows, check)
        rows = await rows_of(drill.place.db)


DRILLS: dict[str, Callable[[Drill], Awaitable[None]]] = {
    "database lost, beyond the retention of its topic": database_lost_beyond_retention,
    "database restored from an older backup": older_backup,
    "topics and database lost": topics_and_database_lost,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRILLS)
async def test_drill(stack: Addresses, tmp_path: Path, name: str) -> None:
    """Everything comes back with the same rows, and workers go on."""
    async with drill(stack, tmp_path, FEW) as own:
        await DRILLS[name](own)
