"""The partitions of the commands topic: a number that is never changed in place.

Kafka lets an operator add partitions. Keys would then move to other ones, and with them commands of
runs that began before: each would be a dead letter, or overtake others on the old partition. So
workers stop, and clients send nothing, until the topic has its partitions again.
"""

from execstream.streams.errors import Fatal
from execstream.streams.topics import COMMANDS


class PartitionsChanged(Fatal):
    """The commands topic does not have the partitions that every key was counted by."""


MEND_PARTITIONS = "See 'Partitions that were raised' in docs/operations.md."


def refusal_of(topic: str, found: int) -> str | None:
    """Return why nothing is done with `topic`, in a sentence; None when it is as it should be."""
    if not topic.endswith(COMMANDS.name) or found in (0, COMMANDS.partitions):
        return None
    return (
        f"{topic} has {found} partitions and not {COMMANDS.partitions}: keys belong to other "
        "partitions now, so commands are neither sent nor applied."
    )


def check_partitions(topic: str, found: int) -> None:
    """Raise PartitionsChanged when `topic` is a commands topic with another number of them."""
    if refusal := refusal_of(topic, found):
        raise PartitionsChanged(f"{refusal} {MEND_PARTITIONS}")
