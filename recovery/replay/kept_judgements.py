"""Which records of a rebuild keep a judgement of the live schema that today's rules would not make.

They are noted in `replay_kept` of the schema that is rebuilt: processes write there, and may be
killed.
"""

from collections.abc import Container

import asyncpg

from execstream.agents.apply.batch_fold import Decoded
from execstream.agents.runtime.partition_buffer import Batch
from execstream.recovery.stored_judgements import (
    Kept,
    KeptJudgements,
    Stored,
    has_judgements,
    keep_judgements,
)
from execstream.storage.connections import quoted
from execstream.storage.log.dead_letters import RecordPosition
from execstream.streams.outcomes import DeadReason

KEPT = """
create table if not exists replay_kept (
    partition int, "offset" bigint, is_dead boolean not null, primary key (partition, "offset")
)
"""
_ADD = "insert into replay_kept values ($1, $2, $3) on conflict do nothing"


class LiveJudgements:
    """Judges the records of `topic` as the schema `live` did."""

    def __init__(self, live: str, topic: str) -> None:
        self._live = live
        self._topic = topic
        self._is_there = False

    async def begin(self, connection: asyncpg.Connection) -> None:
        """Look whether there is such a schema."""
        self._is_there = await has_judgements(connection, self._live)

    async def keep(
        self,
        connection: asyncpg.Connection,
        batch: Batch,
        decoded: Decoded,
        decided: Container[RecordPosition],
    ) -> None:
        """Put stored judgements into `decoded`, except for the positions in `decided`."""
        if not self._is_there:
            return
        kept: list[Kept] = []
        for part, judged in zip(batch, decoded, strict=True):
            stored = Stored(self._live, self._topic, part.owned.number, part.owned.base)
            kept += await keep_judgements(connection, stored, part.records, judged, decided)
        rows = [(one.partition, one.offset, one.is_dead) for one in kept]
        if rows:
            await connection.executemany(_ADD, rows)


_COUNTS = "select is_dead, count(*) from replay_kept group by is_dead"
# Other versions kept values which are stepped over in the topic.
_VALUES = """
update dead_letter n set key = l.key, value = l.value, headers = l.headers
  from {live}.dead_letter l
 where l.id = n.id and n.value is null and l.value is not null
   and n.reason = any (array['{too_large}', '{batch_too_large}'])
   and exists (select from replay_kept k
                where k.partition = n.partition and k."offset" = n."offset")
"""


async def settle_kept(connection: asyncpg.Connection, live: str) -> KeptJudgements:
    """Copy the values of dead letters that only `live` has; return the number of judgements."""
    reasons = {"too_large": DeadReason.TOO_LARGE, "batch_too_large": DeadReason.BATCH_TOO_LARGE}
    await connection.execute(_VALUES.format(live=quoted(live), **reasons))
    counts = KeptJudgements()
    counts.counts.update(dict(await connection.fetch(_COUNTS)))
    return counts
