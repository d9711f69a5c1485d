"""Records that no careful producer sends, strewn among good ones."""

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from execstream.workload.simulation.draws import Draws
from execstream.workload.simulation.mix import Mix
from execstream.workload.simulation.wire import Sent, encode

# How many records later a duplicate may come.
_REMEMBERED = 200


def strewn(records: Iterable[Sent], draws: Draws, mix: Mix) -> Iterator[Sent]:
    """The records, with the shares of duplicates, illegal moves and malformed ones in `mix`.

    All of these come after the record they are made from, so none harms a good one.
    """
    recent: deque[Sent] = deque(maxlen=_REMEMBERED)
    for record in records:
        yield record
        recent.append(record)
        if draws.happens(mix.duplicates):
            yield recent[draws.integer(0, len(recent) - 1)]
        if draws.happens(mix.malformed):
            yield Sent(record.key, _malformed(record.value, draws))
        if draws.happens(mix.illegal):
            yield Sent(record.key, _illegal(record.value, draws))


def _illegal(value: bytes, draws: Draws) -> bytes:
    """A command that the rules refuse, whatever came before it."""
    command = msgspec.json.decode(value) | {"id": draws.uuid(0)}
    match command["type"]:
        case "graph.create" | "graph.start":
            pass  # exists already; no status leads to itself
        case "node.update" | "graph.update" if "status" in command:
            pass  # nor does this one
        case "kv.set":
            command["at"] = "1970-01-01T00:00:00Z"  # older than the value set just now
        case _:
            command |= {"type": "graph.update", "status": "INCOMPLETE"}
    return encode(command)


def _malformed(value: bytes, draws: Draws) -> bytes:
    command = msgspec.json.decode(value)
    variants = [
        value[: len(value) // 2],
        encode([command]),
        encode(command | {"v": 2}),
        encode(command | {"type": "graph.rename"}),
        encode(command | {"at": "yesterday"}),
        encode(command | {"id": 7}),
    ]
    return draws.one_of(variants)
