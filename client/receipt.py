"""The receipt of a client: its commands by outcome."""

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from execstream.streams.commands import Command
from execstream.streams.outcomes import Applied, Dead, Duplicate, Outcome, Quarantined, Refused

if TYPE_CHECKING:
    from execstream.client.result_reader import ResultReader

_FIELDS: dict[type[Any], str] = {
    Applied: "applied",
    Refused: "refused",
    Dead: "dead",
    Duplicate: "duplicate",
    Quarantined: "quarantined",
}


class Receipt(Struct, kw_only=True):
    """Numbers of commands since the client was made; as text it is a line for each.

    Attributes:
        sent: given to Kafka; acknowledged: confirmed by Kafka.
        applied, refused, dead, duplicate, quarantined: by outcome.
        not_asked: confirmed commands of `send`, which waits for no outcome.
        waiting: confirmed commands that workers have not reached yet.
        lost: confirmed commands that workers have passed without a recorded outcome; a run that
            was erased has none either.
        worst_delay: seconds from the call until its outcome was known, the greatest of all.
    """

    sent: int = 0
    acknowledged: int = 0
    applied: int = 0
    refused: int = 0
    dead: int = 0
    duplicate: int = 0
    quarantined: int = 0
    not_asked: int = 0
    waiting: int = 0
    lost: int = 0
    worst_delay: float = 0.0

    def __str__(self) -> str:
        figures = asdict(self)
        figures["worst_delay"] = f"{self.worst_delay:.3f} s"
        return "\n".join(f"{name.replace('_', ' '):<13}{value}" for name, value in figures.items())


class Ledger:
    """Counts the commands of a client, and keeps those without an outcome in time."""

    def __init__(self) -> None:
        self._counted = Receipt()
        self._unknown: list[tuple[Command, tuple[str, int, int]]] = []

    def note_sent(self) -> None:
        """Count a command that is given to Kafka."""
        self._counted.sent += 1

    def note_acknowledged(self, *, asked: bool) -> None:
        """Count a confirmed command; `asked`: its sender waits for the outcome."""
        self._counted.acknowledged += 1
        self._counted.not_asked += not asked

    def note_outcome(self, outcome: Outcome, delay: float = 0.0) -> None:
        """Count an outcome that was known `delay` seconds after the call."""
        name = _FIELDS[type(outcome)]
        setattr(self._counted, name, getattr(self._counted, name) + 1)
        self._counted.worst_delay = max(self._counted.worst_delay, delay)

    def note_unknown(self, command: Command, place: tuple[str, int, int]) -> None:
        """Keep a command without an outcome; `place`: topic, partition, offset."""
        self._unknown.append((command, place))

    async def receipt(self, results: "ResultReader") -> Receipt:
        """Sum up, after one more look for each outcome that did not come."""
        lost, unknown = 0, []
        for command, place in self._unknown:
            was_passed = await results.has_passed(*place)  # first, for it may pass any moment
            if outcome := await results.outcome(command, *place):
                self.note_outcome(outcome)
            else:
                unknown.append((command, place))
                lost += was_passed
        self._unknown = unknown
        return replace(self._counted, waiting=len(unknown) - lost, lost=lost)
