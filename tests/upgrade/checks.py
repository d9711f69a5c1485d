"""The rows, events and messages after an upgrade, checked by the program and by the reference."""

from execstream.streams.append_time import append_time
from execstream.workload.reference import Reference
from tests.faults.findings import look
from tests.faults.listening import Listener
from tests.whole.program import Program
from tests.worker import Installation


async def check_verify(program: Program) -> None:
    report = (await program("verify", "--all", "--json")).json()
    assert report["differences"][:5] == []
    assert report["ok"]
    assert report["left_out"] == []


async def check_against_reference(place: Installation, listener: Listener) -> None:
    """Assert that rows, outcomes, events and messages follow from the commands topic."""
    reference = Reference()
    for record in await place.commands():
        place_in_topic = (record.partition, record.offset)
        reference.feed(*place_in_topic, record.key, record.value, append_time(record))
    findings = await look(place, reference, listener, redis_stayed=True)
    assert findings.is_clean, "\n".join(findings.samples)
    assert min(reference.counts.values()) > 0  # each outcome occurs
