"""Proving that a rebuild is what the live schema is, while that goes on.

The live side is one snapshot; the rebuild is caught up to exactly the offsets in it. A rebuild that
ends earlier is compared as of its end: runs that moved on afterwards are left out, and so are the
totals, which do not tell how they once were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.replay.sessions import session
from storage.leftover_totals import TABLES as TOTALS_TABLES
from storage.leftover_totals import complete_totals, has_totals
from storage.live_side import Place, erased_runs, live_places
from storage.proof import (
    ANSWERS,
    COUNTS,
    FOLDS,
    TOTALS,
    Bound,
    Compared,
    Difference,
    LeftOut,
    Side,
    differences,
    differing_keys,
)
from storage.rebuilding import JOURNAL, places
from streams.topics import EVENTS

MOST_TOLD = 50  # differences


@dataclass
class Proof:
    """What was compared, and what was found. `rows`: how many by table; `hashes`: their sums in
    the rebuild; `differing`: how many runs or rows, by table; `left_out`: what was not compared."""

    rows: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    differing: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not self.differing


async def prove(rebuild: Rebuild) -> Proof | None:
    """Compare the rebuild with the live schema; None when there is none."""
    settings = rebuild.settings
    async with (
        session(settings.postgres, settings.schema_) as live,
        live.transaction(isolation="repeatable_read"),
    ):
        at = await live_places(live, settings.schema_, rebuild.topic.name)
        if not at:
            return None
        if all(span.end is None for span in rebuild.plan.spans):
            await rebuild.catch_up({p: place.next_offset for p, place in at.items()})
        async with (
            session(settings.postgres, rebuild.schema) as rebuilt,
            rebuilt.transaction(),
        ):
            sides = Side(live, settings.schema_), Side(rebuilt, rebuild.schema)
            return await _prove(rebuild, *sides, at)


async def _prove(rebuild: Rebuild, live: Side, rebuilt: Side, at: dict[int, Place]) -> Proof:
    found = Proof()
    ours = await places(rebuilt.connection, rebuild.topic.name)
    bounds = _bounds(at, ours)
    tables = [*FOLDS]
    if rebuild.plan.source == JOURNAL:
        found.left_out.append("refusals and dead letters, which were copied")
    else:
        tables += ANSWERS
    for side in (live, rebuilt):
        await side.limit(bounds)
    left_out = LeftOut(*map(set.union, await live.left_out(), await rebuilt.left_out()))
    for side in (live, rebuilt):
        await side.leave_out(left_out)
    if bounds:
        found.left_out.append(
            "totals and counts of outcomes, which the live schema has later ones of"
        )
        found.left_out.append(f"{len(left_out.moved):,} runs that moved on afterwards")
    else:
        if rebuild.plan.needs_journal:
            found.left_out.append("counts of outcomes, of which the journal does not tell")
        else:
            tables += COUNTS
        tables += await _totals(rebuild, live, at, found)
    for compared in tables:
        await _compare(compared, live, rebuilt, found)
    return found


def _bounds(at: dict[int, Place], ours: dict[int, int]) -> list[Bound]:
    """None when both sides stand at the same offsets."""
    if all(place.next_offset == ours.get(p, 0) for p, place in at.items()):
        return []
    ends = {p: min(place.next_offset, ours.get(p, 0)) for p, place in at.items()}
    return [Bound(p, end + at[p].base, end) for p, end in ends.items()]


async def _totals(
    rebuild: Rebuild, live: Side, at: dict[int, Place], found: Proof
) -> Sequence[Compared]:
    events = rebuild.settings.topic_prefix + EVENTS.name
    if rebuild.plan.source == JOURNAL and (erased := await erased_runs(live.connection)):
        found.left_out.append(f"totals: {erased:,} runs were erased, and their journal with them")
        return ()
    if not await has_totals(live.connection, events):
        found.left_out.append("totals, because no tally ever ran in the live schema")
        return ()
    ends = {p: place.next_offset + place.base for p, place in at.items()}
    await complete_totals(live.connection, live.schema, events, ends)
    live.temporary |= set(TOTALS_TABLES)
    return TOTALS


async def _compare(compared: Compared, live: Side, rebuilt: Side, found: Proof) -> None:
    sums, keys = await differing_keys(compared, live, rebuilt)
    found.rows[compared.table] = sum(one.rows for one in sums.values())
    total = sum(one.hash for one in sums.values())
    found.hashes[compared.table] = f"{total % 2**64:016x}"
    if keys:
        found.differing[compared.table] = len(keys)
    for key in keys[:MOST_TOLD]:
        if len(found.differences) >= MOST_TOLD:
            return
        found.differences += await differences(compared, key, live, rebuilt)
