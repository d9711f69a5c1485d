"""The records of a schedule, and the same as the model has them."""

from collections.abc import Sequence
from random import Random
from uuid import UUID

import msgspec

from execstream.workload.reference import Reference
from tests.agents.applying import Record
from tests.orders import OWNER, Order, Orders

HEAVY_BYTES = 400  # all commands of runs that are heavy have more, and all others have less


def records_of(chance: Random, partition: int = 0, *, heavy_runs: int = 0) -> list[Record]:
    """Commands of three runs, some twice, some refused, and records that are none."""
    lists = []
    for number in range(3):
        user = "u" * HEAVY_BYTES if number < heavy_runs else OWNER
        run = Orders(str(UUID(int=chance.getrandbits(128), version=4)), user)
        steps = [run.create(run.node("a")), run.start(), run.give("b"), run.move("QUEUED")]
        lists.append([*steps, run.emit("a"), run.move("COMPLETED"), run.move("RUNNING")])
    sent: list[Order] = []
    while any(lists):
        sent.append(chance.choice([one for one in lists if one]).pop(0))
        if chance.random() < 0.2:
            sent.append(chance.choice(sent))
        if chance.random() < 0.1:
            sent.append(Order(b"key", b"no command"))
    return [Record(partition, offset, one.key, one.value) for offset, one in enumerate(sent)]


def log_of(records: Sequence[Record]) -> list[int]:
    """The log as the model has it, judged by the reference."""
    reference, ids, log = Reference(), dict[str, int](), []
    for record in records:
        kind = reference.feed(record.partition, record.offset, record.key, record.value).kind
        if kind in {"applied", "duplicate"}:
            command_id = msgspec.json.decode(record.value or b"")["id"]
            log.append(ids.setdefault(command_id, len(ids) + 1))
        else:
            log.append({"refused": 0, "dead": -1}[kind])
    return log
