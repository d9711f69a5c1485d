"""The rules for per-user key-values: the newest `at` wins, a command counts once."""

from dataclasses import dataclass, field
from datetime import datetime

from execstream.streams.commands import SetKeyValue
from execstream.streams.outcomes import Applied, Duplicate, Refusal, Refused


@dataclass(slots=True)
class KeyValues:
    """The stored state of the key-values that a batch touches.

    `written[user_id, key]`: `at` of the stored value, None when there is none; `applied`: the
    (user_id, command id) pairs that had their effect.
    """

    written: dict[tuple[str, str], datetime | None] = field(default_factory=dict)
    applied: set[tuple[str, str]] = field(default_factory=set)


def fold_key_value(known: KeyValues, command: SetKeyValue) -> Applied | Duplicate | Refused:
    """Apply `command` to the known key-values; the caller stores the value itself."""
    command_key = (command.user_id, command.id)
    if command_key in known.applied:
        return Duplicate(Applied())
    place = (command.user_id, command.name)
    stored_at = known.written.get(place)
    if stored_at is not None and command.time < stored_at:
        return Refused(Refusal.SUPERSEDED, {"stored_at": stored_at})
    known.written[place] = command.time
    known.applied.add(command_key)
    return Applied()
