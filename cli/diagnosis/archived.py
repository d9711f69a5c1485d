"""The archive, where there is one: retention deletes nothing that it lacks."""

from collections.abc import AsyncIterator

from execstream.cli.archive_complaints import complaints_of
from execstream.cli.diagnosis.finding import Examined, Finding
from execstream.config.settings import Settings
from execstream.storage.log.archive_positions import remedy_of

_archive = Examined("archive")


async def examine_archive(settings: Settings) -> AsyncIterator[Finding]:
    """Nothing without an archive."""
    found, complaints = await complaints_of(settings)
    for one in complaints:
        yield _archive.failed("position", one, remedy_of(found))
    if found and not complaints:
        waiting = sum(one.waiting_since is not None for one in found)
        yield _archive.ok(
            "position", f"{found[0].at.folder}, {waiting} of {len(found)} partitions have more"
        )
