"""All checks, one part after the other; each part goes as far as it can."""

from collections.abc import AsyncIterator

from execstream.cli.diagnosis.archived import examine_archive
from execstream.cli.diagnosis.brokers import examine_kafka
from execstream.cli.diagnosis.cache import examine_redis
from execstream.cli.diagnosis.database import examine_postgres
from execstream.cli.diagnosis.finding import Finding, State
from execstream.cli.diagnosis.machine import examine_machine, examine_settings
from execstream.cli.diagnosis.standstill import examine_consumers
from execstream.cli.diagnosis.workers import examine_workers
from execstream.config.settings import Settings


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """The findings, as they are made. NotConfigured when a server is not named."""
    for finding in (*examine_settings(settings), *examine_machine()):
        yield finding
    are_well = True
    for part in (examine_kafka, examine_postgres, examine_redis):
        async for finding in part(settings):
            are_well = are_well and finding.state is not State.FAILED
            yield finding
    if are_well:  # otherwise consumers stand still for a reason that is reported already
        for part in (examine_consumers, examine_archive):
            async for finding in part(settings):
                yield finding
    async for finding in examine_workers(settings):
        yield finding
