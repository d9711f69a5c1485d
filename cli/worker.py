"""`execstream worker`: the agents of one role in this process, or of each in one of its own."""

import asyncio
from typing import Literal

import structlog

from execstream.cli.common import start
from execstream.cli.supervisor import Supervisor, end_with_supervisor
from execstream.config.process_lifetime import stop_signals
from execstream.config.settings import Settings

Role = Literal["apply", "tally", "bridge", "all"]


def worker(*, role: Role = "all") -> int:
    """Run agents until Ctrl-C or SIGTERM.

    Parameters
    ----------
    role
        apply: commands and the catalogue to Postgres. tally: events to totals. bridge: events to
        Redis. all: one process for each, started again when it ends.
    """
    settings = start()
    if role == "all":
        return asyncio.run(_run_all(settings))
    end_with_supervisor()
    structlog.contextvars.bind_contextvars(role=role)
    return _run(role, settings)


async def _run_all(settings: Settings) -> int:
    async with Supervisor(settings):
        return await stop_signals()


def _run(role: str, settings: Settings) -> int:
    # Faust is slow to import, and needed in this process only.
    from execstream.agents.config import WorkerConfig  # noqa: PLC0415
    from execstream.agents.worker import run_worker  # noqa: PLC0415

    config = WorkerConfig(
        kafka_bootstrap=settings.kafka,
        postgres_dsn=settings.postgres,
        redis_url=settings.redis,
        topic_prefix=settings.topic_prefix,
        schema=settings.schema_,
        redis_prefix=settings.redis_prefix,
        group_prefix=settings.group_prefix,
        max_command_bytes=settings.max_command_bytes,
        max_message_bytes=settings.max_message_bytes,
        http_host=settings.worker_host,
        http_port=getattr(settings, f"{role}_port"),
        alerts=settings.alerts,
        alert_failure_rate=settings.alert_failure_rate,
        alert_stuck_probability=settings.alert_stuck_probability,
        alert_silence=settings.alert_silence,
        alert_webhook_url=settings.alert_webhook_url,
        alert_webhook_secret=settings.alert_webhook_secret,
    )
    run_worker(role, config)
