"""A worker of a release with other rules: no bounds on growth and numbers, and no time with more
than six digits of a second's fraction. `python -m tests.recovery.earlier_rules ROLE CONFIG`.
"""

import re

from execstream.agents.apply import batch_fold
from execstream.streams.commands import Command
from execstream.streams.decoding import decode
from execstream.streams.outcomes import Dead, DeadReason
from tests.worker import main

_LONG_FRACTION = re.compile(rb'"at":"[^"]*\.[0-9]{7,}')


def decode_as_before(key: bytes | None, value: bytes | None, max_bytes: int) -> Command | Dead:
    """The command, or the dead letter, of that release."""
    if _LONG_FRACTION.search(value or b""):
        message = "Expected `str` matching regex"
        return Dead(DeadReason.INVALID_FIELD, {"path": "$.at", "message": message})
    return decode(key, value, max_bytes, bounded=False)


if __name__ == "__main__":
    vars(batch_fold).update(decode=decode_as_before)
    main()
