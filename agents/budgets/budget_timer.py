"""The timer that judges budgets, in every worker of role `tally`."""

import asyncpg
import structlog

from execstream.agents.budgets.judge import BudgetJudge
from execstream.agents.runtime.exclusive_job import ExclusiveJob
from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.tasks import spawn
from execstream.config.settings import Settings

LOOK_EVERY = 0.5  # seconds

log = structlog.get_logger(__name__)


def declare_budgets(app: App, settings: Settings) -> BudgetJudge:
    """Declare the timer on `app`; return the judge, which the tally has to tell about costs."""
    judge, job = BudgetJudge(settings), ExclusiveJob(settings)

    @app.timer(LOOK_EVERY)
    async def look_at_budgets() -> None:
        async def look(connection: asyncpg.Connection) -> None:
            for finding in await judge.look(connection):
                log.warning("alert", kind=finding.kind, subject=finding.subject, **finding.figures)

        if judge.is_due:
            await spawn(job.take("look_at_budgets", look))

    async def close() -> None:
        await job.close()
        await judge.close()

    app.on_close(close)
    return judge
