"""Record batches: ordinary ones as aiokafka reads them, large ones in bounded memory."""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka import codec as codecs
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execstream.agents.apply.dead_letters import dead_letter
from execstream.kafka import header_decoding, large_batches, unpacking
from execstream.kafka.header_decoding import (
    MAX_FETCHED,
    MAX_TAKEN,
    BoundedFetchResult,
    FetchBudget,
    TolerantRecords,
    fetch_budget,
)
from execstream.storage.commit.write_set import WriteSet
from execstream.streams.decoding import decode
from execstream.streams.omitted import OmittedValue
from execstream.streams.outcomes import Dead, DeadReason
from tests.large_records import MIB, squeezed
from tests.worker import HOME

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS = (NONE, GZIP, SNAPPY, LZ4, ZSTD)
PACKED = CODECS[1:]
SMALL = 200  # bytes

# Bytes of a batch before it is compressed, at most, by the documents of each client.
DEFAULT_BATCHES = {
    "Java, max.request.size": 1_048_576,
    "librdkafka, batch.size": 1_000_000,
    "franz-go, ProducerBatchMaxBytes": 1_000_012,
    "sarama, Producer.MaxMessageBytes": 1_048_576,
}

Header = tuple[str, bytes | None]
Sent = tuple[bytes | None, bytes | None, list[Header]]


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every compressed batch may be large, and so may a record of more than SMALL bytes."""
    monkeypatch.setattr(header_decoding, "MAX_RECORD_BYTES", SMALL)
    monkeypatch.setattr(large_batches, "MAX_RECORD_BYTES", SMALL)
    monkeypatch.setattr(large_batches, "_SEGMENT", SMALL)


def batch(codec: int, records: Sequence[Sent], *, magic: int = 2) -> bytes:
    """One batch of `records`, as a producer makes it."""
    if magic < 2:
        old = LegacyRecordBatchBuilder(magic, codec, 10**9)
        for number, (key, value, _) in enumerate(records):
            old.append(number, 1_000 + number, key, value)
        return bytes(old.build())
    made = DefaultRecordBatchBuilder(magic, codec, 0, -1, -1, -1, 10**9)
    for number, (key, value, headers) in enumerate(records):
        made.append(number, timestamp=1_000 + number, key=key, value=value, headers=headers)
    return bytes(made.build())


def read(reader: Any) -> Iterator[Any]:
    """The records that a consumer reads; checksums are verified as it does."""
    while reader.has_next():
        one = reader.next_batch()
        assert one.validate_crc()
        yield from one


def seen(records: Iterator[Any]) -> list[tuple[Any, ...]]:
    return [
        (
            *(one.offset, one.timestamp, one.timestamp_type, one.key, one.value),
            *(type(one.value), list(map(tuple, one.headers)), one.checksum),
        )
        for one in records
    ]


texts = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.builds(lambda part, times: part * times, st.binary(max_size=9), st.integers(0, 200)),
)
sent_records = st.lists(
    st.tuples(texts, texts, st.lists(st.tuples(st.text(max_size=9), texts), max_size=3)),
    min_size=1,
    max_size=30,
)
anything = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)


@pytest.mark.parametrize("codec", CODECS)
@anything
@given(parts=st.lists(sent_records, min_size=1, max_size=3))
def test_batches_are_read_as_by_aiokafka(codec: int, parts: list[list[Sent]]) -> None:
    """Several in one fetch, of any content."""
    fetched = b"".join(batch(codec, records) for records in parts)

    assert seen(read(TolerantRecords(fetched))) == seen(read(MemoryRecords(fetched)))


@pytest.mark.parametrize("codec", PACKED)
@anything
@given(records=sent_records)
def test_piece_by_piece_only_large_values_are_missing(
    codec: int, records: list[Sent], small_limit: None
) -> None:
    """Everything else of a batch that may be large is as aiokafka reads it."""
    fetched = batch(codec, records)

    found = list(read(TolerantRecords(fetched)))

    expected = list(read(MemoryRecords(fetched)))
    assert len(found) == len(expected)
    for one, whole in zip(found, expected, strict=True):
        if isinstance(one.value, OmittedValue):
            size = len(whole.value or b"")
            told = one.value.size or 0
            assert told == size if size > SMALL else told > SMALL
            assert seen(iter([one]))[0][:4] == seen(iter([whole]))[0][:4]
            assert list(one.headers) == list(whole.headers)
        else:
            assert seen(iter([one])) == seen(iter([whole]))
            assert len(whole.value or b"") <= SMALL


@pytest.mark.parametrize("codec", PACKED)
def test_a_large_batch_of_small_records_is_complete(codec: int) -> None:
    """More than a record may have in all, over many segments."""
    records: list[Sent] = [
        (str(number).encode(), b"value %d " % number * 50_000, [("a", b"b")])
        for number in range(60)
    ]
    fetched = batch(codec, records)
    assert sum(len(value or b"") for _, value, _ in records) > large_batches.MAX_RECORD_BYTES

    assert seen(read(TolerantRecords(fetched))) == seen(read(MemoryRecords(fetched)))


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [NONE, GZIP])
def test_old_formats_are_read_as_by_aiokafka(magic: int, codec: int, small_limit: None) -> None:
    fetched = batch(codec, [(b"k", b"v" * 1_000, []), (None, b"w", [])], magic=magic)

    assert seen(read(TolerantRecords(fetched))) == seen(read(MemoryRecords(fetched)))


def test_a_name_that_is_no_utf8_is_read_piece_by_piece(small_limit: None) -> None:
    """In a batch that may be large, too."""
    fetched = batch(ZSTD, [(b"k", b"v", [("name", b"1")]), (b"k", b"v" * 500, [("name", b"2")])])
    plain = codecs.zstd_decode(fetched[61:]).replace(b"name", b"n\xffme")
    broken = large_batches.uncompressed(fetched, codecs.zstd_encode(plain))
    broken = broken[:22] + bytes([ZSTD]) + broken[23:]  # the codec again

    found = [one for part in [TolerantRecords(broken)] for one in part.next_batch()]

    assert [list(one.headers) for one in found] == [[("n\\xffme", b"1")], [("n\\xffme", b"2")]]


def outcome(reader: Any) -> list[tuple[Any, ...]] | None:
    """The records read without checksums; None when that fails."""
    try:
        return seen(one for part in iter(reader.next_batch, None) for one in part)
    except Exception:  # noqa: BLE001 - aiokafka raises what its libraries raise
        return None


@pytest.mark.parametrize("is_piecewise", [False, True])
@pytest.mark.parametrize("codec", PACKED)
@anything
@given(data=st.data())
def test_damaged_batches_fail_as_in_aiokafka(
    codec: int, is_piecewise: bool, data: st.DataObject
) -> None:
    """Cut short, or with other bytes in them; none is read as if nothing were wrong with it."""
    records: list[Sent] = [(b"key", b"value %d" % number * 7, []) for number in range(20)]
    fetched = bytearray(batch(codec, records))
    place = data.draw(st.integers(61, len(fetched) - 1))
    if data.draw(st.booleans()):
        del fetched[place:]
        fetched[8:12] = (len(fetched) - 12).to_bytes(4, "big")
    else:
        fetched[place] ^= data.draw(st.integers(1, 255))

    with pytest.MonkeyPatch.context() as patch:
        if is_piecewise:
            patch.setattr(header_decoding, "MAX_RECORD_BYTES", 1)
        found = outcome(TolerantRecords(bytes(fetched)))

    assert found == outcome(MemoryRecords(bytes(fetched)))


@pytest.mark.parametrize("codec", PACKED)
def test_a_stream_without_its_end_is_damaged(codec: int) -> None:
    """Even if no record is missing."""
    whole = batch(codec, [(b"key", b"value", [])])[61:]

    assert b"".join(unpacking.pieces(codec, whole)).endswith(b"value\0")
    with pytest.raises(CorruptRecordException):
        list(unpacking.pieces(codec, whole[:-1]))


def test_what_cannot_be_is_not_unpacked() -> None:
    """A block of Snappy that declares 4 GB is not unpacked."""
    with pytest.raises(CorruptRecordException, match="cannot hold"):
        list(unpacking.pieces(SNAPPY, b"\xff\xff\xff\xff\x0f" + b"\0" * 40))


_READING = """
import resource
from execstream.kafka.header_decoding import TolerantRecords
from tests.large_records import MIB, squeezed
batches = [
    [(b"a", b"1"), (b"b", 900 * MIB), (b"c", b"22")],
    [(b"b", 1100 * MIB)],
    [(b"a", b"1"), (b"b", 1100 * MIB), (b"c", b"2"), (b"d", b"3")],
]
fetched = b"".join(bytes(squeezed(records).build()) for records in batches)
begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader = TolerantRecords(fetched)
while reader.has_next():
    for one in reader.next_batch():
        print(one.offset, one.timestamp, one.key, len(one.value), getattr(one.value, "size", "-"))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun) // 1024)
"""


def test_a_gigabyte_is_stepped_over_in_bounded_memory() -> None:
    """A process that reads batches of 35 kB, of which zstd makes a gigabyte, grows by less than 100
    MiB: one has large records among others, one holds nothing else, and one ends too late."""
    said = subprocess.run(
        [sys.executable, "-c", _READING], cwd=HOME, check=True, capture_output=True, text=True
    )

    *found, grown = said.stdout.splitlines()
    assert found == [
        *("0 1000 b'a' 1 -", f"1 1001 b'b' 0 {900 * MIB}", "2 1002 b'c' 2 -"),
        f"0 1000 b'b' 0 {1100 * MIB}",
        *("0 1000 b'a' 1 -", f"1 1001 b'b' 0 {1100 * MIB}"),
        "3 1003 None 0 None",
    ]
    assert int(grown) < 100  # MiB


def test_default_batches_are_far_below_the_limit() -> None:
    """No client makes a batch of a hundredth of what is unpacked, unless it is told to."""
    own = inspect.signature(AIOKafkaProducer).parameters["max_request_size"].default
    assert max(own, *DEFAULT_BATCHES.values()) * 100 < large_batches.MAX_BATCH_BYTES


def test_records_up_to_the_limit_are_kept() -> None:
    """To the byte; one more, and the value is omitted."""
    frame = len(b"\0\0\0\2k") + 4 + 1  # attributes, time, place, key, size; number of headers
    most = large_batches.MAX_RECORD_BYTES - frame
    fetched = bytes(squeezed([(b"k", most), (b"k", most + 1)]).build())

    kept, omitted = TolerantRecords(fetched).next_batch()

    assert kept.value == b"x" * most
    assert omitted.value == OmittedValue(0, 0)
    assert isinstance(omitted.value, OmittedValue)
    assert omitted.value.size == large_batches.MAX_RECORD_BYTES + 1


@pytest.mark.parametrize("codec", PACKED)
def test_large_keys_and_headers_are_omitted_too(codec: int) -> None:
    """The size is then that of the record."""
    large = b"x" * (25 * MIB)
    fetched = batch(codec, [(large, b"v", []), (b"k", b"v", [("a", large)]), (b"k", b"v", [])])

    key, header, ordinary = TolerantRecords(fetched).next_batch()

    assert (key.key, key.value.size > 25 * MIB, list(key.headers)) == (None, True, [])
    assert (header.key, header.value.size > 25 * MIB, list(header.headers)) == (b"k", True, [])
    assert (ordinary.offset, ordinary.value) == (2, b"v")


def test_omitted_values_are_dead_letters() -> None:
    too_large = decode(b"k", OmittedValue(25 * MIB, 24 * MIB), 8 * MIB)
    assert isinstance(too_large, Dead)
    assert (too_large.reason, too_large.detail["bytes"], too_large.detail["limit"]) == (
        *(DeadReason.TOO_LARGE, 25 * MIB, 8 * MIB),
    )
    unread = decode(b"k", OmittedValue(None, 1024 * MIB))
    assert isinstance(unread, Dead)
    assert (unread.reason, unread.detail["limit"]) == (DeadReason.BATCH_TOO_LARGE, 1024 * MIB)
    unread = decode(b"k", OmittedValue(None, 1024 * MIB, range(5, 1_000_000)))
    assert isinstance(unread, Dead)
    assert (unread.detail["first_offset"], unread.detail["last_offset"]) == (5, 999_999)


def consumed(
    value: bytes | None, *, headers: tuple[Header, ...] = (), offset: int = 0
) -> ConsumerRecord:
    return ConsumerRecord("topic", 1, offset, 5, 0, b"key", value, None, 3, 0, headers)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (OmittedValue(10**9, 24 * MIB), None),
        (b"x" * (24 * MIB + 1), None),
        (b"x" * 24 * MIB, b"x" * 24 * MIB),
        (None, None),
        (b"", b""),
    ],
)
def test_postgres_is_sent_no_value_over_the_limit(
    value: bytes | None, stored: bytes | None
) -> None:
    writes = WriteSet()
    dead = decode(b"key", value)
    assert isinstance(dead, Dead)
    writes.add_dead_letter(consumed(value), dead)

    assert writes.dead_letters[0][4:6] == (b"key", stored)


@pytest.mark.parametrize(("size", "told"), [(10**9, b"1000000000"), (None, None)])
def test_the_dead_letter_says_how_large_it_was(size: int | None, told: bytes | None) -> None:
    """Also one that is made once more from its row, which has no value."""
    omitted = OmittedValue(size, 24 * MIB)
    dead = decode(b"key", omitted)
    assert isinstance(dead, Dead)
    made = dead_letter(consumed(omitted, headers=(("own", b"1"),)), dead, 0)
    again = dead_letter(consumed(None, headers=(("own", b"1"),)), dead, 0)

    assert made == again
    assert made.value is None
    assert (made.headers[0], dict(made.headers)["dlq.omitted"]) == (("own", b"1"), told)


def results(*records: ConsumerRecord) -> BoundedFetchResult:
    """The fetched records of a partition."""
    state = SimpleNamespace(paused=False, position=0, consumed_to=lambda _: None)
    fetched = BoundedFetchResult(
        ("topic", 1),
        assignment=SimpleNamespace(active=True, state_value=lambda _: state),
        partition_records=iter(records),
        backoff=0,
    )
    fetched.check_assignment = lambda _: True
    fetched._update_position = lambda: None
    return fetched


def test_of_all_partitions_little_is_taken_at_a_time() -> None:
    """A fetch ends when it has enough; the next one takes the rest."""
    few = MAX_FETCHED // MAX_TAKEN
    partitions = [results(consumed(b"x" * MAX_TAKEN), consumed(b"y")) for _ in range(2 * few)]
    for expected in ([1] * few + [0] * few, [1] * 2 * few):
        token = fetch_budget.set(FetchBudget(lambda: None))
        assert [len(partition.getall()) for partition in partitions] == expected
        fetch_budget.reset(token)


def test_of_a_partition_little_is_taken_at_a_time() -> None:
    """The limit holds for any size of a fetch: also of headers, and of omitted values."""
    large = MAX_TAKEN // 2
    fetched = results(
        consumed(b"x" * large),
        consumed(b"x" * large, offset=1),
        consumed(None, headers=(("a", b"x" * MAX_TAKEN),), offset=2),
        consumed(OmittedValue(10**9, 24 * MIB), offset=3),
        *(consumed(b"x", offset=offset) for offset in range(4, 9)),
    )

    taken = [fetched.getall(3) for _ in range(5)]

    assert [[one.offset for one in some] for some in taken] == [[0, 1], [2], [3], [4, 5, 6], [7, 8]]
    assert not fetched.has_more()
    assert fetched.getall() == []


async def test_unpacking_takes_turns() -> None:
    """A fetch pauses within a large record, and is scheduled to go on soon. The records are the
    same, and none is taken twice by a reader that begins again at the position.
    """
    raw = bytes(squeezed([(b"k", b"first"), (b"k", 200 * MIB), (b"k", b"last")]).build())
    turns: list[int] = []
    taken: list[ConsumerRecord] = []
    position = 0
    fetched: BoundedFetchResult | None = None

    def go_on() -> None:
        turns.append(len(taken))

    while fetched is None or fetched.has_more():
        if len(turns) == 2:
            fetched = None  # it is fetched anew, from the middle of the batch
        fetched = fetched or fetched_from(raw, position)
        token = fetch_budget.set(FetchBudget(go_on))
        taken += fetched.getall()
        fetch_budget.reset(token)
        position = fetched._assignment.state_value(None).position
        assert position == taken[-1].offset + 1
        await asyncio.sleep(0)

    assert [one.offset for one in taken] == [0, 1, 2]
    assert [one.value for one in taken] == [b"first", b"", b"last"]
    assert taken[1].value.size == 200 * MIB
    assert len(turns) > 5
    assert set(turns) == {1}  # so many records were taken


def fetched_from(raw: bytes, position: int) -> BoundedFetchResult:
    """The records that a fetch from `position` on has found."""
    state = SimpleNamespace(paused=False, position=position)
    state.consumed_to = lambda place: setattr(state, "position", place)
    about = (None, position, None, None, True, READ_UNCOMMITTED)
    return BoundedFetchResult(
        ("topic", 1),
        assignment=SimpleNamespace(active=True, state_value=lambda _: state),
        partition_records=PartitionRecords(
            TopicPartition("topic", 1), TolerantRecords(raw), *about
        ),
        backoff=0,
    )
