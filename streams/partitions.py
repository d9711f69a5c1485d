"""Which partition a key belongs to: Java's murmur2, as Kafka's own producers choose it.

librdkafka: `partitioner=murmur2_random`. Only keyed records are meant; the choice for records
without a key is their producer's.
"""

from functools import lru_cache
from struct import unpack

_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_32_BITS = 0xFFFFFFFF
_31_BITS = 0x7FFFFFFF


@lru_cache(maxsize=65_536)  # a run sends many commands: most keys were seen just before
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` on a topic with that many `partitions`."""
    return (murmur2(key) & _31_BITS) % partitions


def murmur2(data: bytes) -> int:
    """32 bits, unsigned; as `org.apache.kafka.common.utils.Utils.murmur2` (which is signed)."""
    size = len(data)
    whole = size & ~3
    mixed = _SEED ^ size
    for word in unpack(f"<{size // 4}I", data[:whole]):
        scrambled = word * _MULTIPLIER & _32_BITS
        scrambled = (scrambled ^ scrambled >> 24) * _MULTIPLIER & _32_BITS
        mixed = mixed * _MULTIPLIER & _32_BITS ^ scrambled
    if size > whole:
        mixed = (mixed ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _32_BITS
    mixed = (mixed ^ mixed >> 13) * _MULTIPLIER & _32_BITS
    return mixed ^ mixed >> 15
