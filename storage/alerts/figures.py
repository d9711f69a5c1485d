"""Figures that alerts are judged by: failure rates of blocks from the totals, and silent runs.

"Now" is Postgres' clock, and a minute is that of the steps' own times. Steps that producers date
more than an hour ahead of the broker are in no rate, not even when that minute comes (`skewed`).
Neither are imported ones, and a run is not silent whose last change was imported.
Older events than the spans are ignored, so that replaying a topic raises no alerts.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import asyncpg

from execstream.storage.reads.block_figures import IS_BUCKET, SOUND_COUNTS
from execstream.streams.totals.alert_rules import SPANS, Counts, Rules, Spans
from execstream.streams.totals.error_classes import CALLER, ErrorClass
from execstream.streams.totals.histogram import bucket_of, merge

MOST_SILENT = 1_000  # runs: of each user in turn the one that has been silent longest
MOST_SUSPECTS = 2_000  # blocks, the ones with the most failures
USUAL_MINUTES = 24 * 60  # before the longest span: the usual rate of a block
DURATION_DAYS = 7
# No run is silent for so long without an earlier alert: a longer silence comes from a sender's
# clock.
MOST_DAYS_SILENT = 40
MOST_DURATIONS = 2_000  # runs of a graph


class Rated(NamedTuple):
    """The subject of a failure rate: a block, or the failures of one class among its steps."""

    block_id: str
    error_class: str | None = None


_AGE = "(extract(epoch from date_trunc('minute', now()) - minute) / 60)::int"
_RECENT = """
minute >= date_trunc('minute', now()) - make_interval(mins => $1) and minute <= now()
"""
# By the primary key, which begins with the minute. Producers choose ids of blocks, so their number
# has no limit.
_BLOCK_RATES = f"""
select block_id, {_AGE} as age, sum(ended)::bigint,
       sum(failed - case when $2 then 0 else caller_failed end)::bigint
  from block_minute
 where {_RECENT} and ended > 0 and (block_id = any ($3) or block_id in (
    select block_id from block_minute where {_RECENT} and failed > 0
     group by 1 order by sum(failed) desc limit {MOST_SUSPECTS}))
 group by block_id, age
"""
_NAMED = "select id from block where id = any ($1)"
_CLASS_RATES = f"""
select block_id, error_class, {_AGE} as age, sum(count::bigint)::bigint
  from block_minute, jsonb_each_text(error_classes) as each(error_class, count)
 where {_RECENT} and failed > 0 and block_id = any($2) and not error_class = any($3)
 group by block_id, error_class, age
"""


def _left_out(rules: Rules) -> list[str]:
    """Classes of errors that are nobody's failure here."""
    return [ErrorClass.CHILD] if rules.caller_failures else [ErrorClass.CHILD, *sorted(CALLER)]


async def load_block_rates(
    connection: asyncpg.Connection, rules: Rules, known: Collection[str]
) -> dict[Rated, Spans]:
    """Return the failed and the ended steps of blocks within the longest span: of `known` ones, and
    of the MOST_SUSPECTS with the most failures.
    """
    blocks: dict[str, dict[int, Counts]] = defaultdict(dict)
    rows = await connection.fetch(_BLOCK_RATES, SPANS[-1], rules.caller_failures, list(known))
    for block_id, age, ended, failed in rows:
        blocks[block_id][age] = Counts(ended, failed)
    return {Rated(block_id): _spans(ages) for block_id, ages in blocks.items()}


async def named_blocks(connection: asyncpg.Connection, block_ids: Collection[str]) -> set[str]:
    """Return those of the blocks that the catalogue has."""
    return {row[0] for row in await connection.fetch(_NAMED, list(block_ids))}


async def load_class_rates(
    connection: asyncpg.Connection, rules: Rules, blocks: Mapping[Rated, Spans]
) -> dict[Rated, Spans]:
    """The same for each class of errors of `blocks`."""
    classes: dict[Rated, dict[int, Counts]] = defaultdict(dict)
    ids = [rated.block_id for rated in blocks]
    rows = await connection.fetch(_CLASS_RATES, SPANS[-1], ids, _left_out(rules))
    for block_id, kind, age, failed in rows:
        classes[Rated(block_id, kind)][age] = Counts(0, failed)
    rates: dict[Rated, Spans] = {}
    for rated, ages in classes.items():
        whole, part = blocks[Rated(rated.block_id)], _spans(ages)
        rates[rated] = {span: Counts(whole[span].ended, part[span].failed) for span in SPANS}
    return rates


def _spans(ages: Mapping[int, Counts]) -> Spans:
    return {
        span: Counts(
            sum(counts.ended for age, counts in ages.items() if age <= span),
            sum(counts.failed for age, counts in ages.items() if age <= span),
        )
        for span in SPANS
    }


_USUAL = """
with usual as (
    select block_id, ended, error_classes,
           failed - case when $4 then 0 else caller_failed end as failed
      from block_minute
     where block_id = any($1) and minute < date_trunc('minute', now()) - make_interval(mins => $2)
       and minute >= date_trunc('minute', now()) - make_interval(mins => $2 + $3)
)
select block_id, null as error_class, sum(ended)::bigint as count from usual group by 1
union all
select block_id, '', sum(failed)::bigint from usual group by 1
union all
select block_id, error_class, sum(count::bigint)::bigint
  from usual, jsonb_each_text(error_classes) as each(error_class, count)
 where failed > 0 and not error_class = any($5) group by 1, 2
"""


async def load_usual(
    connection: asyncpg.Connection, rules: Rules, block_ids: Iterable[str]
) -> dict[Rated, Counts]:
    """Return the steps of these blocks and classes in the day before the longest span."""
    ended: dict[str, int] = {}
    failed: dict[Rated, int] = {}
    about = (list(block_ids), SPANS[-1], USUAL_MINUTES, rules.caller_failures, _left_out(rules))
    rows = await connection.fetch(_USUAL, *about)
    for block_id, error_class, count in rows:
        if error_class is None:
            ended[block_id] = count
        else:
            failed[Rated(block_id, error_class or None)] = count
    return {rated: Counts(ended[rated.block_id], count) for rated, count in failed.items()}


# ---- silence ---------------------------------------------------------------------------------


class RunningStep(NamedTuple):
    node_exec_id: str
    block_id: str
    seconds: float


@dataclass(slots=True)
class SilentRun:
    """A run that was begun, did not end, and had no event for `silent` seconds; `seconds`: since it
    was started, None when it was not, or when that is unknown.
    """

    graph_exec_id: str
    graph_id: str
    user_id: str
    silent_since: datetime
    silent: float
    seconds: float | None
    steps: list[RunningStep] = field(default_factory=list)


_MAY_BE = f"now() - interval '{MOST_DAYS_SILENT} days'"
# Its newest entry tells; by the primary key of one partition.
_IS_IMPORTED = """exists (
    select from journal
     where graph_exec_id = graph_execution.id and seq = graph_execution.last_seq
       and run_day = (graph_execution.created_at at time zone 'UTC')::date
       and detail ? 'imported')"""
# By the index of live runs.
_SILENT = f"""
select run.*, step.id::text as node_exec_id, step.block_id,
       extract(epoch from now() - step.started_time)::float8 as step_seconds
  from (select id, graph_id, user_id, created_at, updated_at,
               extract(epoch from now() - updated_at)::float8 as silent,
               case when started_at > {_MAY_BE}
                    then extract(epoch from now() - started_at)::float8 end as seconds
          from graph_execution
         where status in ('QUEUED', 'RUNNING') and not is_deleted
           and updated_at < now() - make_interval(secs => $1) and not {_IS_IMPORTED}
           and (updated_at > {_MAY_BE}
                or id in (select graph_exec_id from alert
                           where kind = 'stuck' and closed_at is null))
         order by row_number() over (partition by user_id order by updated_at), updated_at
         limit $2) as run
  left join node_execution step on step.graph_exec_id = run.id and step.status = 'RUNNING'
       and step.run_day = (run.created_at at time zone 'UTC')::date
       and step.started_time > {_MAY_BE}
 order by run.updated_at, run.id
"""


async def load_silent(connection: asyncpg.Connection, least_silence: float) -> list[SilentRun]:
    """Runs that are queued or run and have been silent for so many seconds, with the steps that
    run; MOST_SILENT at most, of users in turn.

    Neither runs nor steps are measured by times that lie MOST_DAYS_SILENT back: a run that has been
    silent for so long has an open alert, or its sender's clock was wrong."""
    runs: dict[str, SilentRun] = {}
    for row in await connection.fetch(_SILENT, least_silence, MOST_SILENT):
        run_id = str(row["id"])
        if run_id not in runs:
            silence = (row["updated_at"], row["silent"], row["seconds"])
            runs[run_id] = SilentRun(run_id, row["graph_id"], row["user_id"], *silence)
        if row["node_exec_id"] is not None:
            step = RunningStep(row["node_exec_id"], row["block_id"], row["step_seconds"])
            runs[run_id].steps.append(step)
    return list(runs.values())


_STEP_DURATIONS = f"""
select bucket::int, sum(count::bigint)::bigint
  from block_minute,
       jsonb_each_text({SOUND_COUNTS.format("histogram")}) as each(bucket, count)
 where block_id = $1 and minute > now() - make_interval(days => $2) and {IS_BUCKET} group by 1
"""


async def load_step_durations(connection: asyncpg.Connection, block_id: str) -> dict[int, int]:
    """Return the durations of a block's steps in the last days, by bucket."""
    rows = await connection.fetch(_STEP_DURATIONS, block_id, DURATION_DAYS)
    return dict(map(tuple, rows))


_RUN_DURATIONS = """
select extract(epoch from ended_at - started_at)::float8 as seconds from graph_execution
 where graph_id = $1 and not is_deleted and status in ('COMPLETED', 'FAILED')
   and started_at is not null and created_at < now() + interval '1 hour'
 order by created_at desc limit $2
"""


async def load_run_durations(connection: asyncpg.Connection, graph_id: str) -> dict[int, int]:
    """Return the durations of the newest runs of a graph, by bucket."""
    durations: dict[int, int] = {}
    for (seconds,) in await connection.fetch(_RUN_DURATIONS, graph_id, MOST_DURATIONS):
        merge(durations, {bucket_of(int(seconds * 1_000_000)): 1})
    return durations
