"""The faults of the tables and topics after a trial, counted: nothing, if all is well.

The truth is the topic of commands, read back and fed to the reference in the order of offsets.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import asyncpg
from aiokafka import ConsumerRecord

from execstream.workload.reference import Reference, read_event, read_json
from tests.comparing import differing_counts, differing_details, differing_rows, kept, public
from tests.faults.listening import Listener
from tests.worker import Installation

Row = Mapping[str, Any]
How = Literal["lost", "doubled", "differing"]
SAMPLES, SAMPLE = 5, 1_500  # of a kind, and characters of one
BRIEF = 200  # characters
NOWHERE = (-1, -1, -1)  # before every source

# The fields that a journal's `detail` has in common with the event of its entry.
_TOLD = {
    *("stats", "execution_data", "inputs", "credential_inputs", "nodes_input_masks", "preset_id"),
    *("parent_graph_exec_id", "node_id", "block_id", "user_id", "graph_id", "graph_version"),
}
_DETAILS = """
select source_partition, source_offset, source_index, detail from journal where detail is not null
"""


@dataclass
class Findings:
    """Of each kind of row, event or message: missing, in excess, and with other values."""

    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)  # all of them, in fewer characters

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.differing)

    def compare(
        self, kind: str, expected: Mapping[Any, Row], found: Iterable[tuple[Hashable, Row]]
    ) -> None:
        """Compare by key; of values, only those that `expected` has."""
        seen: set[Hashable] = set()
        for key, row in found:
            if key in seen or key not in expected:
                self.note("doubled", kind, key)
            elif any(row.get(name) != value for name, value in expected[key].items()):
                self.note("differing", kind, {"expected": expected[key], "found": row})
            seen.add(key)
        for key in expected.keys() - seen:
            self.note("lost", kind, key)

    def note(self, how: How, kind: str, sample: object, count: int = 1) -> None:
        counter: Counter[str] = getattr(self, how)
        counter[kind] += count
        self.noted.append(f"{kind} {how}: {str(sample)[:BRIEF]}")
        if counter[kind] <= SAMPLES:
            self.samples.append(f"{kind} {how}: {str(sample)[:SAMPLE]}")


async def look(
    installation: Installation, reference: Reference, listener: Listener, *, redis_stayed: bool
) -> Findings:
    """Compare everything there is with `reference`."""
    findings = Findings()
    expected = {
        tuple(event["source"]): event for events in reference.events().values() for event in events
    }
    await _look_at_tables(findings, installation.db, reference, expected)
    await _look_at_events(findings, installation, expected)
    await _look_at_dead_letters(findings, installation, reference)
    _look_at_messages(findings, expected, listener, to_the_end=redis_stayed)
    return findings


async def _look_at_tables(
    findings: Findings, db: asyncpg.Pool, reference: Reference, events: Mapping[Any, Row]
) -> None:
    for row in await differing_rows(db, reference):
        how: How = "doubled" if row.expected is None else "differing" if row.found else "lost"
        findings.note(how, row.table.name, row.lines())
    for place, sides in (await differing_details(db, reference)).items():
        findings.note("differing", "refusal.detail", (place, sides))
    for row in await db.fetch(_DETAILS):
        event, detail = events.get(tuple(row)[:3], {}), read_json(row["detail"])
        if any(event.get(name) != detail[name] for name in _TOLD & detail.keys()):
            findings.note("differing", "journal.detail", {"event": event, "found": detail})
    for outcome, excess in (await differing_counts(db, reference)).items():
        findings.note("doubled" if excess > 0 else "lost", "outcomes", outcome, abs(excess))


async def _look_at_events(
    findings: Findings, installation: Installation, expected: Mapping[Any, Row]
) -> None:
    """Check the events that remain, in their order, for a reader that drops sources not greater
    than the last one: an event that came too late is lost.
    """
    published = await installation.events()
    for partition, records in published.items():
        events = kept(read_event(record.value) for record in records)
        wrong = sum(event["source"][0] != partition for event in events)
        if wrong:
            findings.note("differing", "events in a wrong partition", partition, wrong)
        findings.compare(
            "events",
            {place: public(dict(e)) for place, e in expected.items() if place[0] == partition},
            ((tuple(event["source"]), public(event)) for event in events),
        )
    silent = {place[0] for place in expected} - published.keys()
    if silent:
        findings.note("lost", "events of partitions", silent, len(silent))


async def unpublished(installation: Installation) -> list[str]:
    """Return a sentence for each partition without the last event of its log in the topic."""
    found = await installation.events_so_far()
    complaints = []
    for partition, place in (await installation.last_sources()).items():
        events = found.get(partition, [])
        greatest = max((read_event(one.value)["source"][1:] for one in events), default=None)
        if greatest is None or tuple(greatest) < place:
            complaints.append(
                f"The last event of partition {partition} has source {greatest}, of {len(events)} "
                f"records, and should have {place}."
            )
    return complaints or ["Not everything was published in time."]


async def _look_at_dead_letters(
    findings: Findings, installation: Installation, reference: Reference
) -> None:
    """At least once each, byte for byte."""
    expected = {
        (letter["partition"], letter["offset"]): {
            "key": letter["key"],
            "value": letter["value"],
            "reason": letter["reason"],
        }
        for letter in reference.dead_letters
    }
    found = dict(map(_letter, await installation.dead_letters()))
    findings.compare("dead-letter topic", expected, found.items())


def _letter(record: ConsumerRecord) -> tuple[tuple[int, int], Row]:
    headers = dict(record.headers)
    place = (int(headers["dlq.original.partition"]), int(headers["dlq.original.offset"]))
    reason = headers["dlq.reason"].decode()
    return place, {"key": record.key, "value": record.value, "reason": reason}


def _look_at_messages(
    findings: Findings, expected: Mapping[Any, Row], listener: Listener, *, to_the_end: bool
) -> None:
    """Everything, else everything before the last that was heard."""
    if to_the_end and listener.is_deaf:
        findings.note("lost", "subscription", "it broke although Redis was up")
    kept = listener.kept()
    told: dict[Any, Row] = {
        place: {}
        for place, event in expected.items()
        if "seq" in event and (to_the_end or place <= kept.get(place[0], [NOWHERE])[-1])
    }
    findings.compare("redis", told, ((source, {}) for one in kept.values() for source in one))
