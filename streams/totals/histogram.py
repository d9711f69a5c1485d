"""Durations in buckets that grow with their content: mergeable, and exact to within 2 %.

A bucket is a number: 18 of them to a doubling, so that each reaches from its lower end to 3.9 %
above, and its middle is at most 1.93 % from whatever lies in it. Counts by bucket add up, over
minutes, partitions and blocks. As SQL sees them: an object with the buckets' numbers as names.
"""

import math
from collections.abc import Mapping

PER_DOUBLING = 18
RELATIVE_ERROR = 0.02  # at most, of every quantile above a microsecond

# The bucket of a duration of zero, which has no logarithm.
NOTHING = -1

_GROWTH = 2 ** (1 / PER_DOUBLING)
_MIDDLE = 2 / (1 + _GROWTH)  # of a bucket, as a part of its upper end


def bucket_of(microseconds: int) -> int:
    """The bucket of a duration; negative ones, which skewed clocks make, count as none."""
    if microseconds <= 0:
        return NOTHING
    return math.ceil(math.log2(microseconds) * PER_DOUBLING)


def middle_of(bucket: int) -> float:
    """The duration that represents `bucket`, in milliseconds."""
    if bucket == NOTHING:
        return 0.0
    microseconds: float = _GROWTH**bucket * _MIDDLE
    return microseconds / 1_000


def merge(into: dict[int, int], counts: Mapping[int, int]) -> None:
    """Add `counts` to `into`, both by bucket."""
    for bucket, count in counts.items():
        into[bucket] = into.get(bucket, 0) + count


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The duration, in milliseconds, below or at which `share` (0 to 1) of all are; None when
    there are none."""
    rank = max(1, math.ceil(share * sum(counts.values())))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return middle_of(bucket)
    return None
