"""Keys go where Java's producers put them, or the order of a run's commands would be lost."""

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from execstream.streams.partitions import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_of_kafka(key: bytes, signed: int) -> None:
    """The vectors of Kafka's own test (`UtilsTest.testMurmur2`) come out."""
    assert murmur2(key) == signed % 2**32


@given(st.binary(max_size=70))
def test_every_length(key: bytes) -> None:
    """Keys with a length that is not a multiple of four, and bytes above 127, are no exception."""
    assert murmur2(key) == aiokafka_murmur2(key) % 2**32


@pytest.mark.parametrize(("key", "partition"), [(b"21", 4), (b"foobar", 6), (b"", 1)])
def test_partition(key: bytes, partition: int) -> None:
    """The sign is dropped, not negated, before the remainder is taken."""
    assert partition_of(key, 8) == partition
    assert partition_of(key, 1) == 0
