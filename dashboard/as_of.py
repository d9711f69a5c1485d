"""Point-in-time reads: runs as of an earlier moment, for `?as_of=` of the routes of runs."""

from typing import Annotated

from fastapi import Query

from execstream.dashboard.problems import not_found
from execstream.dashboard.reads.run_summaries import Run
from execstream.dashboard.responses import Time
from execstream.dashboard.services import Services
from execstream.storage.reads.as_of import Past, find_past
from execstream.streams.moments import parse_moment

AsOf = Annotated[
    str | None,
    Query(description="As it was then: a time, or the `seq` of the last entry to count."),
]
AsOfTime = Annotated[
    Time | None, Query(description="Runs there were at this time, as they were then.")
]


async def reached(served: Services, run: Run, as_of: str) -> Past:
    """Return the progress of the run at that moment; a problem if there was none."""
    past = await find_past(served.db, str(run.id), parse_moment(as_of))
    if past is None:
        raise not_found(f"run {run.id} as of {as_of}")
    return past
