"""Timers that raise alerts and deliver them.

They run in every worker of role `tally`, and read its totals. A lock in Postgres admits one at a
time, and their findings are kept there, so any of them may do the work.
"""

import asyncpg
import structlog

from execstream.agents.alerts.delivery import Channel, Webhook
from execstream.agents.alerts.failing_blocks import look_at_blocks
from execstream.agents.alerts.stuck_runs import StuckRuns
from execstream.agents.runtime.exclusive_job import ExclusiveJob
from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.tasks import spawn
from execstream.config.settings import Settings
from execstream.storage.alerts.records import Finding
from execstream.streams.totals.alert_rules import Rules

LOOK_EVERY = 2.0  # seconds
LOOK_AT_RUNS_EVERY = 5.0  # seconds
DELIVER_EVERY = 0.5  # seconds

log = structlog.get_logger(__name__)


def declare(app: App, settings: Settings) -> None:
    """Declare the timers on `app`; those of alerts only unless they are switched off."""
    if settings.alerts:
        _declare_looking(app, settings, has_webhook=settings.alert_webhook_url is not None)
        channel = Channel(settings.redis, settings.redis_prefix)
        _declare_telling(app, settings, "publish_alerts", channel)
    if settings.alert_webhook_url is not None:
        webhook = Webhook(settings.alert_webhook_url, settings.alert_webhook_secret)
        _declare_telling(app, settings, "post_alerts", webhook)


def _declare_looking(app: App, settings: Settings, *, has_webhook: bool) -> None:
    rules = Rules(
        failure_rate=settings.alert_failure_rate,
        block_rates=settings.block_rates,
        stuck_probability=settings.alert_stuck_probability,
        least_silence=settings.alert_silence,
        caller_failures=settings.alert_caller_failures,
    )
    block_job, run_job = ExclusiveJob(settings), ExclusiveJob(settings)
    stuck = StuckRuns(rules)

    @app.timer(LOOK_EVERY)
    async def look_for_failing_blocks() -> None:
        async def look(connection: asyncpg.Connection) -> None:
            _note(await look_at_blocks(connection, rules, has_webhook=has_webhook))

        await spawn(block_job.take("look_at_blocks", look))

    @app.timer(LOOK_AT_RUNS_EVERY)
    async def look_for_stuck_runs() -> None:
        async def look(connection: asyncpg.Connection) -> None:
            _note(await stuck.look(connection, has_webhook=has_webhook))

        await spawn(run_job.take("look_at_runs", look))

    app.on_close(block_job.close)
    app.on_close(run_job.close)


def _declare_telling(app: App, settings: Settings, what: str, way: Channel | Webhook) -> None:
    turns = ExclusiveJob(settings)

    @app.timer(DELIVER_EVERY)
    async def deliver() -> None:
        await spawn(turns.take(what, way.deliver))

    async def close() -> None:
        await turns.close()
        await way.close()

    app.on_close(close)


def _note(findings: list[Finding]) -> None:
    for finding in findings:
        log.warning("alert", kind=finding.kind, subject=finding.subject, **finding.figures)
