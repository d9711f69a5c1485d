"""The path of records through the pure code: decoding, fold, effects, events, messages.

Nothing here needs a server. `follow` takes records as one partition does, in batches, compares
outcomes and events with the reference, and asserts what holds of every row and message.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from faust.types import TP

from execstream.agents.apply.batch_fold import BatchResult, decode_batch, fold_batch
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime.partition_buffer import AssignedPartition, Batch, PartitionBatch
from execstream.storage.redis.channels import MAX_MESSAGE_BYTES
from execstream.storage.redis.messages.run_views import RunViews
from execstream.streams.append_time import append_time
from execstream.streams.events import NOWHERE, decode_event, encode_event
from execstream.workload.reference import Reference, read_json
from tests.agents.applying import TOPIC, Record
from tests.comparing import assert_events_equal
from tests.hostile_commands import Record as KeyAndValue

BATCH = 200  # records
MAX_COMMAND = 8 * 2**20  # bytes
ROOMY = 2**30  # bytes of states; nothing is to be loaded
_PARTITION = 0


class Followed(NamedTuple):
    """Counts of a path: records by outcome, and events by type."""

    outcomes: Counter[str]
    events: Counter[str]


def follow(records: Sequence[KeyAndValue]) -> Followed:
    """Take `records` from the first to the last step; AssertionError at the first thing that is
    not as it should be.
    """
    owned = AssignedPartition(TP(TOPIC, _PARTITION), 1, 0, NOWHERE, 0, 0)
    cache, views, reference = RunCache(ROOMY), RunViews(), Reference(MAX_COMMAND)
    outcomes, published = Counter[str](), list[bytes]()
    for begin in range(0, len(records), BATCH):
        some = [
            Record(_PARTITION, begin + index, key, value)
            for index, (key, value) in enumerate(records[begin : begin + BATCH])
        ]
        for one in some:
            reference.feed(one.partition, one.offset, one.key, one.value, append_time(one))
        folded = _folded(owned, some, cache)
        outcomes += _counted(folded)
        _assert_storable(folded)
        published += [event.value or b"" for one in folded.outbound for event in one.events]
    assert outcomes == +reference.counts
    assert_events_equal({_PARTITION: published} if published else {}, reference.events())
    return Followed(outcomes, _messages(published, views))


def fails(records: Sequence[KeyAndValue]) -> bool:
    """Return whether `follow` fails with `records`."""
    try:
        follow(records)
    except Exception:  # noqa: BLE001 - any failure is a finding
        return True
    return False


def _folded(owned: AssignedPartition, records: Sequence[Record], cache: RunCache) -> BatchResult:
    batch = Batch([PartitionBatch(owned, records[0].offset, list(records))])
    folded = BatchResult(batch, records[-1].offset, cache.generation)
    fold_batch(folded, decode_batch(batch, MAX_COMMAND, {}), cache)
    [commit] = folded.offset_commits
    assert (commit.expected, commit.next) == (records[0].offset, records[-1].offset + 1)
    return folded


def _counted(folded: BatchResult) -> Counter[str]:
    counts = Counter[str]()
    for (_, outcome), records in folded.outcomes.items():
        counts[outcome.__name__.lower()] += records
    return counts


def _assert_storable(folded: BatchResult) -> None:
    """Postgres has no text with a NUL and none that is not UTF-8, and no JSON that is not valid."""
    rows = folded.write_set
    for row in (
        *(*rows.run_rows, *rows.step_rows, *rows.entries),
        *(*rows.key_values, *rows.refusals, *rows.dead_letters),
    ):
        for text in _texts(row):
            assert "\0" not in text, text[:200]
            text.encode()


def _texts(row: Iterable[Any]) -> Iterable[str]:
    for value in row:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            yield from _texts(value)


def _messages(published: Sequence[bytes], views: RunViews) -> Counter[str]:
    """Render a message for each event of a run, from views that saw all events before it."""
    types = Counter[str]()
    for value in published:
        event = decode_event(value)
        types[event.type] += 1
        assert decode_event(encode_event(event)) == event
        if isinstance(event.seq, int):
            assert not views.lacks(event) or event.type == "graph.created", event.type
            _, message = views.message_for(event)
            assert len(message) <= MAX_MESSAGE_BYTES
            assert read_json(message)["payload"]
    return types
