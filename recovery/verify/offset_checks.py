"""Consumer offsets compared with the offsets of their topics."""

from execstream.recovery.offsets.offsets import Position
from execstream.recovery.verify.report import Difference, Report
from execstream.streams.topics import CATALOGUE, COMMANDS, EVENTS

# By force, because the topic is known to be new, however far its consumers were.
_MENDS = {
    "below": "execstream offsets skip {0}",
    "above": "execstream offsets rebase {0}",
    "missing": "execstream topics apply && execstream offsets rebase {0} --force",
}


def check_positions(positions: list[Position], report: Report) -> None:
    """Note those that are not inside their topics."""
    report.checked["positions"] = len(positions)
    for one in positions:
        if one.state == "inside":
            continue
        report.add(
            Difference(
                kind="offset",
                field="next_offset",
                expected=None if one.begin is None else [one.begin, one.end],
                found=one.next_offset,
                mend=_MENDS[one.state].format(_short(one.topic)),
                place={
                    "consumer": one.consumer,
                    "topic": one.topic,
                    "partition": one.partition,
                },
            )
        )


def _short(topic: str) -> str:
    by_name = {COMMANDS.name: "commands", EVENTS.name: "events", CATALOGUE.name: "catalogue"}
    return next((short for name, short in by_name.items() if topic.endswith(name)), topic)
