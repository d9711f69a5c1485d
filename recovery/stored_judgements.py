"""Records keep the judgement that they were stored with, whatever rules have come since.

A newer version may have bounds that an applied record exceeds, or understand one that became a dead
letter. A second fold of commands asks the live schema first.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
import msgspec

from execstream.agents.runtime.fetched_records import Record
from execstream.storage.connections import quoted
from execstream.storage.log.dead_letters import RecordPosition
from execstream.storage.schema.tables import DEAD_LETTERS
from execstream.storage.unreadable_rows import readable, reading_row
from execstream.streams.commands import Command, RunCommand
from execstream.streams.decoding import decode
from execstream.streams.omitted import OmittedValue
from execstream.streams.outcomes import Dead, DeadReason
from execstream.streams.quarantine import SetAside

_decode_detail = msgspec.json.Decoder(dict[str, Any]).decode

MOST_NAMED = 20  # positions of a kind

Judged = Command | Dead | SetAside


class Stored(NamedTuple):
    """The place where judgements of a partition are stored; `base` is added to Kafka's offsets in
    sources.
    """

    schema: str
    topic: str
    partition: int
    base: int


class Kept(NamedTuple):
    """A judgement that today's rules would not make: the record is a dead letter, or a command.
    `has_bytes`: its row has bytes that are no longer read from the topic."""

    partition: int
    offset: int
    is_dead: bool
    has_bytes: bool = False


@dataclass
class KeptJudgements:
    """Kept judgements: their number, and the first of them by name.

    Attributes:
        counts: by whether they are dead letters.
    """

    counts: Counter[bool] = field(default_factory=Counter)
    named: list[Kept] = field(default_factory=list)

    def add(self, kept: Iterable[Kept]) -> None:
        """Count `kept`, and name some."""
        for one in kept:
            self.counts[one.is_dead] += 1
            if self.counts[one.is_dead] <= MOST_NAMED:
                self.named.append(one)

    def in_words(self) -> list[str]:
        """One sentence; none where nothing was kept."""
        if not self.counts.total():
            return []
        kinds = [(True, "dead letters"), (False, "commands")]
        parts = [self._listed(is_dead, kind) for is_dead, kind in kinds if self.counts[is_dead]]
        count, listed = self.counts.total(), "; ".join(parts)
        keep = "records that keep an earlier judgement, which today's rules would not make"
        return [f"{count:,} {keep}: {listed}"]

    def _listed(self, is_dead: bool, kind: str) -> str:
        count = self.counts[is_dead]
        places = [f"{one.partition}:{one.offset}" for one in self.named if one.is_dead is is_dead]
        if places and count > len(places):
            places.append(f"{count - len(places):,} more")
        return f"{count:,} {kind}" + (f" at {', '.join(places)}" if places else "")


class _Letter(NamedTuple):
    dead: Dead
    has_value: bool


class _Doubt(NamedTuple):
    """A record that may have been judged otherwise: as `letter`, or as the value decoded `before`
    there were bounds.
    """

    number: int  # of the record
    before: Command | Dead
    letter: _Letter | None


class _Evidence(NamedTuple):
    """`has_rows`: the record itself left some; `is_known`: its command did, or its run lost its
    journal."""

    has_rows: bool
    is_known: bool


async def has_judgements(connection: asyncpg.Connection, schema: str) -> bool:
    """Return whether there is such a schema."""
    name = f"{quoted(schema)}.dead_letter"
    return bool(await connection.fetchval("select to_regclass($1) is not null", name))


async def keep_judgements(
    connection: asyncpg.Connection,
    stored: Stored,
    records: Sequence[Record],
    judged: list[Judged],
    decided: Container[RecordPosition],
) -> list[Kept]:
    """Replace entries of `judged`, which has the judgements of today's rules about `records` of one
    partition, by the stored judgements; return where these differ. Records at positions in
    `decided` stay as they are.
    """
    if not records:
        return []
    letters = await _letters(connection, stored, records[0].offset, records[-1].offset)
    doubts: list[_Doubt] = []
    for index, record in enumerate(records):
        today, letter = judged[index], letters.get(record.offset)
        if isinstance(today, SetAside) or (record.partition, record.offset) in decided:
            continue
        if not _is_settled(today, letter, record):
            doubts += _doubt(index, record, today, letter)
    evidence = await _evidence(connection, stored, records, doubts)
    resolved = [
        _resolve(one, evidence.get(one.number, _NO_EVIDENCE), records[one.number], judged)
        for one in doubts
    ]
    return [one for one in resolved if one is not None]


def _is_settled(today: Command | Dead, letter: _Letter | None, record: Record) -> bool:
    """Return whether the stored rows agree with `today`."""
    if letter is None:
        return isinstance(today, Command)
    is_same = isinstance(today, Dead) and _is_same(letter.dead, today)
    return is_same and not _has_bytes(letter, record)


def _doubt(
    index: int, record: Record, today: Command | Dead, letter: _Letter | None
) -> Iterator[_Doubt]:
    """The doubt about a record whose judgement `today` differs from the stored one, if there is
    one.
    """
    if isinstance(today, Command):
        if letter is not None and letter.dead.reason is not DeadReason.WRONG_PARTITION:
            yield _Doubt(index, today, letter)
        return
    before = decode(record.key, record.value, bounded=False)
    if letter is not None or isinstance(before, Command):
        yield _Doubt(index, before, letter)


def _resolve(
    doubt: _Doubt, evidence: _Evidence, record: Record, judged: list[Judged]
) -> Kept | None:
    """Put the valid judgement into `judged`; None when it is today's."""
    today, before, letter = judged[doubt.number], doubt.before, doubt.letter
    place = (record.partition, record.offset)
    is_applied = evidence.has_rows or (letter is None and evidence.is_known)
    if is_applied and isinstance(before, Command):
        judged[doubt.number] = before
        return None if before is today else Kept(*place, is_dead=False)
    if letter is None or not _stands(letter, today, before, record):
        return None
    judged[doubt.number] = letter.dead
    if isinstance(today, Command) and letter.dead.reason is DeadReason.NOT_STORABLE:
        return None  # not by a rule: Postgres would not have it
    return Kept(*place, is_dead=True, has_bytes=_has_bytes(letter, record))


def _stands(letter: _Letter, today: Judged, before: Command | Dead, record: Record) -> bool:
    """Return whether `letter` may be the judgement of another version: a letter that differs only
    in a detail was changed by hand.
    """
    if not isinstance(today, Dead) or letter.dead.reason is not today.reason:
        return True
    # Times were judged before other fields once.
    is_of_time = letter.dead.detail.get("path") == "$.at"
    is_same = isinstance(before, Dead) and _is_same(letter.dead, before)
    return is_of_time or is_same or _has_bytes(letter, record)


def _is_same(letter: Dead, other: Dead) -> bool:
    return letter.reason is other.reason and _facts(letter) == _facts(other)


def _facts(letter: Dead) -> dict[str, Any]:
    """The detail without its sentence, which each version may word in its own way."""
    return {name: value for name, value in letter.detail.items() if name != "message"}


def _has_bytes(letter: _Letter, record: Record) -> bool:
    """Return whether the row has a value which is skipped in the topic."""
    return letter.has_value and isinstance(record.value, OmittedValue)


_LETTERS = """
select "offset", reason, detail::text as detail, value is not null as has_value
  from {schema}.dead_letter
 where topic = $1 and partition = $2 and "offset" between $3 and $4 and reason = any ($5::text[])
"""


async def _letters(
    connection: asyncpg.Connection, stored: Stored, first: int, last: int
) -> dict[int, _Letter]:
    rows = await connection.fetch(
        _LETTERS.format(schema=quoted(stored.schema)),
        *(stored.topic, stored.partition, first, last, list(DeadReason)),
    )
    return dict(readable(rows, _letter))


def _letter(row: asyncpg.Record) -> tuple[int, _Letter]:
    with reading_row(DEAD_LETTERS.name):
        dead = Dead(DeadReason(row["reason"]), _decode_detail(row["detail"]))
        return row["offset"], _Letter(dead, row["has_value"])


_EVIDENCE = """
select x.index,
       exists (select from {schema}.journal j
                where j.source_partition = $6 and j.source_offset = x.source)
    or exists (select from {schema}.kv_journal k
                where k.source_partition = $6 and k.source_offset = x.source)
    or exists (select from {schema}.refusal r
                where r.source_partition = $6 and r.source_offset = x.source) as has_rows,
       exists (select from {schema}.journal j
                where j.graph_exec_id = x.run_id and j.command_id = x.command_id)
    or exists (select from {schema}.kv_journal k
                where k.user_id = x.user_id and k.command_id = x.command_id)
    or exists (select from {schema}.graph_execution g
                where g.id = x.run_id and (g.is_deleted or g.trimmed_at is not null)) as is_known
  from unnest($1::int[], $2::bigint[], $3::uuid[], $4::text[], $5::uuid[])
       as x(index, source, run_id, user_id, command_id)
"""
_NO_EVIDENCE = _Evidence(has_rows=False, is_known=False)


async def _evidence(
    connection: asyncpg.Connection,
    stored: Stored,
    records: Sequence[Record],
    doubts: Sequence[_Doubt],
) -> Mapping[int, _Evidence]:
    """Outcomes of those of `doubts` that are commands, by index."""
    asked = [
        (
            index,
            records[index].offset + stored.base,
            command.graph_exec_id if isinstance(command, RunCommand) else None,
            command.user_id,
            command.id,
        )
        for index, command, _ in doubts
        if isinstance(command, Command)
    ]
    if not asked:
        return {}
    rows = await connection.fetch(
        _EVIDENCE.format(schema=quoted(stored.schema)),
        *map(list, zip(*asked, strict=True)),
        stored.partition,
    )
    return {row["index"]: _Evidence(row["has_rows"], row["is_known"]) for row in rows}
