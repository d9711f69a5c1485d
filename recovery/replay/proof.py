"""Proof that a rebuild equals the live schema, which stays in use.

The live side is one snapshot; the rebuild is caught up to exactly the offsets in it. A rebuild that
ends earlier is compared as of its end: runs that moved on afterwards are left out, and so are the
totals, which have no history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from execstream.recovery.replay.caught_up_totals import complete_totals, has_totals
from execstream.recovery.replay.live_schema import LivePosition, hold_retention_off, live_places
from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.replay.schema_hashes import (
    ANSWERS,
    COUNTS,
    FOLDS,
    TOTALS,
    Bound,
    Compared,
    Difference,
    LeftOut,
    Side,
    Sums,
    differences,
    differing_keys,
)
from execstream.recovery.replay.shadow_schema import JOURNAL, places
from execstream.recovery.replay.truncated_runs import lost_days
from execstream.recovery.replay.unreadable_runs import runs_left_out
from execstream.recovery.verify.recomputed_totals import Unknown
from execstream.storage import connections
from execstream.storage.connections import REPLAY
from execstream.streams.fold import GapInJournal
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import EVENTS

MOST_LISTED = 20  # differences of a table


@dataclass
class Proof:
    """The result of a comparison. `sums`: rows and hashes of both sides, by table; `differing`: the
    number of different runs or rows, by table; `omitted`: the number of those that `differences`
    does not have; `left_out`: data that was not compared.
    """

    sums: dict[str, Sums] = field(default_factory=dict)
    differing: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    omitted: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not self.differing

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows of the rebuild, by table."""
        return {
            table: sum(one.rows for one in sums.rebuilt.values())
            for table, sums in self.sums.items()
        }


async def prove(rebuild: Rebuild, report_progress: ProgressCallback) -> Proof | None:
    """Compare the rebuild with the live schema; None when there is none."""
    settings = rebuild.settings
    async with connections.connection(settings.postgres, settings.schema_, REPLAY) as live:
        if not await live_places(live, settings.schema_, rebuild.topic.name):
            return None
        async with live.transaction(isolation="repeatable_read"):
            await hold_retention_off(live)  # before there is a snapshot
            at = await live_places(live, settings.schema_, rebuild.topic.name)
            if all(span.end is None for span in rebuild.plan.spans):
                await rebuild.catch_up({p: place.next_offset for p, place in at.items()})
            async with (
                connections.connection(settings.postgres, rebuild.schema, REPLAY) as rebuilt,
                rebuilt.transaction(),
            ):
                sides = Side(live, settings.schema_), Side(rebuilt, rebuild.schema)
                return await _prove(rebuild, *sides, at, report_progress)


async def _prove(
    rebuild: Rebuild,
    live: Side,
    rebuilt: Side,
    at: dict[int, LivePosition],
    report_progress: ProgressCallback,
) -> Proof:
    found = Proof()
    ours = await places(rebuilt.connection, rebuild.topic.name)
    bounds = _bounds(rebuild.topic.name, at, ours)
    unknown = await lost_days(rebuilt.connection) if rebuild.plan.needs_journal else []
    for side in (live, rebuilt):
        await side.limit(bounds, unknown)
    left_out = LeftOut(*map(set.union, await live.left_out(), await rebuilt.left_out()))
    moved = len(left_out.moved)
    unreadable = await runs_left_out(rebuilt.connection)
    left_out.moved.update(unreadable)
    left_out.erased.update(unreadable)
    for side in (live, rebuilt):
        await side.leave_out(left_out, (live.schema, rebuilt.schema))
    tables = [*FOLDS]
    if rebuild.plan.source == JOURNAL:
        found.left_out.append("refusals and dead letters, which were copied")
    else:
        tables += ANSWERS
    if bounds:
        found.left_out.append(
            "totals and counts of outcomes, which the live schema has later ones of"
        )
        found.left_out.append(f"{moved:,} runs that moved on afterwards")
    else:
        if rebuild.plan.needs_journal:
            found.left_out.append("counts of outcomes, which the journal does not have")
        else:
            tables += COUNTS
        if unreadable:
            found.left_out.append("totals, which count runs that cannot be read")
        else:
            tables += await _totals(rebuild, live, at, found, unknown)
    for done, compared in enumerate(tables):
        report_progress("Comparing", done, len(tables))
        await _compare(compared, live, rebuilt, found)
    report_progress("Comparing", len(tables), len(tables))
    return found


def _bounds(topic: str, at: dict[int, LivePosition], ours: dict[int, int]) -> list[Bound]:
    """The bounds of the comparison; empty when both sides are at the same offsets."""
    if all(place.next_offset == ours.get(p, 0) for p, place in at.items()):
        return []
    ends = {p: min(place.next_offset, ours.get(p, 0)) for p, place in at.items()}
    return [Bound(topic, p, end + at[p].base, end) for p, end in ends.items()]


async def _totals(
    rebuild: Rebuild,
    live: Side,
    at: Mapping[int, LivePosition],
    found: Proof,
    unknown: Sequence[Unknown],
) -> Sequence[Compared]:
    events = rebuild.settings.topic_prefix + EVENTS.name
    if not await has_totals(live.connection, events):
        found.left_out.append("totals, because no tally ever ran in the live schema")
        return ()
    if unknown:
        found.left_out.append(
            f"totals from {min(one.first for one in unknown)} to "
            f"{max(one.last for one in unknown)} on days of runs that were erased or trimmed, and "
            "of all time in their partitions: a swap keeps those of the live schema"
        )
    ends = {p: place.next_offset + place.base for p, place in at.items()}
    try:
        await complete_totals(live.connection, live.schema, events, ends)
    except GapInJournal as gap:
        found.left_out.append(f"totals, which cannot be completed: {gap}")
        return ()
    live.temporary |= {compared.table.name for compared in TOTALS}
    return TOTALS


async def _compare(compared: Compared, live: Side, rebuilt: Side, found: Proof) -> None:
    sums, keys = await differing_keys(compared, live, rebuilt)
    name = compared.table.name
    found.sums[name] = sums
    if not keys:
        return
    found.differing[name] = len(keys)
    listed: list[Difference] = []
    for number, key in enumerate(keys):
        if len(listed) >= MOST_LISTED:
            found.omitted[name] = len(keys) - number
            break
        listed += await differences(compared, key, live, rebuilt)
    found.differences += listed[:MOST_LISTED]
