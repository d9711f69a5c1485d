"""The receipt: commands sent, their outcomes, and the differences of rows."""

from collections.abc import Mapping, Sequence

import msgspec


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of contract section 7.

    `others`: commands that other producers sent meanwhile; the outcomes are of these, too.
    `waiting`: commands that Kafka has and the workers have not reached, as the demo was ended; they
    will be applied when workers run. `unchecked`: commands with rows that were not compared, as the
    check was cut short. `seconds`: from the first command sent to the last event acknowledged.
    `kills`, `seen_as_events` and `worst_delay` are None unless the demo killed its processes: the
    number of these; the commands with an event that a consumer saw, which are all that were
    applied or refused; and the greatest time, in seconds, from Kafka's confirmation of a command
    until then.
    `differences` lists rows that differ from the independent fold; it must be empty.
    """

    runs: int
    sent: int
    acknowledged: int
    others: int
    applied: int
    duplicate: int
    refused: int
    dead: int
    quarantined: int
    lost: int
    waiting: int
    unchecked: int
    seconds: float
    commands_per_second: int
    events: int
    redis_messages: int
    kills: int | None = None
    seen_as_events: int | None = None
    worst_delay: float | None = None
    urls: Mapping[str, str]
    differences: Sequence[str]

    @property
    def is_good(self) -> bool:
        """Return whether nothing was lost, all events came and all rows are right."""
        return self.lost == 0 and not self.unseen and not self.differences

    @property
    def unseen(self) -> int:
        """The number of applied and refused commands without an event, if events were read."""
        if self.seen_as_events is None:
            return 0
        return self.applied + self.refused - self.seen_as_events
