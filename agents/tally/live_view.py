"""The live view: the totals of owned partitions in two tables, right after each commit.

`block_stats` is published as it changes, `node_stats` is only read over HTTP. Both hold committed
totals, never more. Values change in place with every commit; once per tick the changed ones are
set, which marks them for publication.

Totals that are dated more than an hour ahead of now are no part of the recent past, which would
otherwise end with them: neither those that the tally counts as skewed, nor those of records
without an append time.

The number of blocks and nodes has no limit, so about MOST_BLOCKS and MOST_NODES of each partition
are held. The others are in Postgres, and one is loaded from there when an event of it is counted.
Where a worker dies while more than MOST_BLOCKS values wait for publication, those beyond them are
published with their next event, or by `verify --all --mend`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice

import structlog

from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.metrics import AHEAD_STEPS, TABLE_KEYS
from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.agents.runtime.retries import retrying
from execstream.agents.runtime.tasks import spawn
from execstream.agents.tally.changelog import Changelog, TableRecord
from execstream.agents.tally.live_tables import LiveTable
from execstream.storage.commit.totals import MOST_BLOCKS, MOST_NODES, Live
from execstream.streams.events import SourceOffset
from execstream.streams.totals.aggregation import MINUTES_PER_DAY, Tally, Totals, minute_of
from execstream.streams.totals.live_values import (
    MOST_AHEAD,
    RECENT_DAYS,
    RECENT_MINUTES,
    LiveStats,
    block_key,
    block_value,
    encode_value,
    node_key,
    partition_of_key,
)

log = structlog.get_logger(__name__)


class LiveView:
    """Holds both tables. Between `clear` and `begin` it holds nothing."""

    def __init__(self, app: App, changelog: Changelog) -> None:
        self.block_stats = LiveTable(app, name="block_stats", help="Blocks, by source partition")
        self.node_stats = LiveTable(app, name="node_stats", help="Nodes of graphs, likewise")
        self.owned: frozenset[int] = frozenset()
        self._changelog = changelog
        self._ticking = asyncio.Lock()
        self._changed_blocks: dict[str, LiveStats] = {}
        self._changed_nodes: dict[str, LiveStats] = {}
        self._newest_minute: dict[int, int] = {}
        self._newest_day: dict[int, int] = {}
        self._published: asyncio.Task[None] | None = None

    # ---- assignment ------------------------------------------------------------------------

    def begin(self, parts: Iterable[AssignedPartition], live: Live) -> None:
        """Show `live`, the totals of `parts` as of the claim."""
        self.clear()
        self.owned = frozenset(part.number for part in parts)
        self.block_stats.fill(live.blocks)
        self.node_stats.fill(live.nodes)
        self._newest_minute, self._newest_day = live.newest_minute, live.newest_day
        self._published = spawn(self._find_published(sorted(self.owned)))

    def clear(self) -> None:
        self.owned = frozenset()
        for table in (self.block_stats, self.node_stats):
            table.fill({})
        self._changed_blocks, self._changed_nodes = {}, {}
        if self._published is not None:
            self._published.cancel()
            self._published = None

    # ---- changes ---------------------------------------------------------------------------

    def unknown_blocks(self, tally: Tally) -> list[tuple[int, str]]:
        """Blocks in `tally` that are ours and not held: (source partition, block)."""
        held = self.block_stats.data.data
        return [
            block
            for block in tally.block_places
            if block[0] in self.owned
            and (key := block_key(*block)) not in held
            and key not in self._changed_blocks
        ]

    def unknown_nodes(self, tally: Tally) -> list[tuple[int, str, str]]:
        """Nodes in `tally` that are ours and not held: (source partition, graph, node)."""
        held = self.node_stats.data.data
        return [
            node
            for node in tally.node_places
            if node[0] in self.owned
            and (key := node_key(*node)) not in held
            and key not in self._changed_nodes
        ]

    def add(self, tally: Tally, loaded: Mapping[str, LiveStats]) -> None:
        """`tally` was committed; `loaded`: the unknown blocks and nodes in it, as they were then.

        A key of a node has a slash, which is in no id of a block.
        """
        latest = minute_of(datetime.now(UTC)) + MOST_AHEAD
        for key, stats in loaded.items():
            (self._changed_nodes if "/" in key else self._changed_blocks)[key] = stats
        for (partition, block_id, minute), block in tally.blocks.items():
            if partition in self.owned:
                key = block_key(partition, block_id)
                place = tally.block_places[partition, block_id]
                stats = _touched(self.block_stats, self._changed_blocks, key, place)
                if key not in loaded:
                    stats.add(minute, block.totals, is_ahead=minute > latest)
                if minute <= latest:
                    _remember_newest(self._newest_minute, partition, minute)
                else:
                    AHEAD_STEPS.inc(block.totals.ended + block.totals.skewed)
        for (partition, graph_id, node_id, day), totals in tally.nodes.items():
            if partition in self.owned:
                key = node_key(partition, graph_id, node_id)
                place = tally.node_places[partition, graph_id, node_id]
                stats = _touched(self.node_stats, self._changed_nodes, key, place)
                is_ahead = day > latest // MINUTES_PER_DAY
                if key not in loaded:
                    stats.add(day, totals, is_ahead=is_ahead)
                if not is_ahead:
                    _remember_newest(self._newest_day, partition, day)
        self._evict()

    def _evict(self) -> None:
        """Drop the blocks and nodes that were not touched for longest; those to be published are
        still marked. Not while a batch is between its commit and `add`: the ones that it found must
        still be there.
        """
        for table, most in ((self.block_stats, MOST_BLOCKS), (self.node_stats, MOST_NODES)):
            held = table.data.data
            excess = max(0, len(held) - most * len(self.owned))
            for key in list(islice(held, excess)):
                del held[key]

    async def tick(self) -> None:
        """Write changed values to the tables, and publish those of `block_stats`."""
        async with self._ticking:
            self._write()
            for table in (self.block_stats, self.node_stats):
                TABLE_KEYS.labels(table.name).set(len(table.data.data))
            # Not before the values left unpublished are known: they go first.
            if self._published is not None and self._published.done():
                await self._changelog.publish(self._table_records())

    async def finish(self) -> None:
        """Publish all that is committed, also where the worker has only just begun."""
        if self._published is not None:
            await asyncio.wait([self._published])
        await self.tick()

    def _write(self) -> None:
        changed, self._changed_blocks = self._changed_blocks, {}
        for key, stats in changed.items():
            if newest := self._newest_minute.get(partition_of_key(key)):
                stats.forget(newest - RECENT_MINUTES)
            self.block_stats.data.data.pop(key, None)  # the one touched last is at the end
            self.block_stats[key] = stats
        changed, self._changed_nodes = self._changed_nodes, {}
        for key, stats in changed.items():
            if newest := self._newest_day.get(partition_of_key(key)):
                stats.forget(newest - RECENT_DAYS)
            self.node_stats.data.data.pop(key, None)
            self.node_stats[key] = stats
        self.node_stats.take_changed()

    def _table_records(self) -> dict[int, list[TableRecord]]:
        """The changed values of `block_stats` by partition, in the order of their places."""
        changed = self.block_stats.take_changed()
        table_records: dict[int, list[TableRecord]] = {}
        for key, stats in sorted(changed.items(), key=_place_of):
            value = encode_value(block_value(key, stats))
            table_records.setdefault(partition_of_key(key), []).append((key.encode(), value))
        return table_records

    # ---- values that earlier owners left unpublished ----------------------------------------

    async def _find_published(self, partitions: list[int]) -> None:
        """Mark for publication the committed values that may not have been published."""
        places = await retrying("last_published", lambda: self._changelog.places(partitions))
        missing = 0
        for key, stats in self.block_stats.data.data.items():
            if stats.place > places[partition_of_key(key)]:
                self.block_stats.changed[key] = stats
                missing += 1
        log.info("live", blocks=len(self.block_stats), nodes=len(self.node_stats), missing=missing)


def _place_of(item: tuple[str, LiveStats]) -> SourceOffset:
    return item[1].place


def _touched(
    table: LiveTable, changed: dict[str, LiveStats], key: str, place: SourceOffset
) -> LiveStats:
    stats: LiveStats | None = changed.get(key) or table.data.data.get(key)
    if stats is None:
        stats = LiveStats(place, Totals(), {})
    stats.place = place
    changed[key] = stats
    return stats


def _remember_newest(newest: dict[int, int], partition: int, when: int) -> None:
    newest[partition] = max(newest.get(partition, when), when)
