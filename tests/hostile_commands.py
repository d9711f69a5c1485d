"""Records at which two decoders of commands may differ: real commands, some of them mutated.

Mutations are of the bytes: fields are replaced, left out, repeated or added, with texts that
parsers of JSON stumble over, ids, names and times around their limits, numbers around those of
Postgres, and text that is hard to read; and single bytes. The same seed gives the same records.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random

import msgspec

from execstream.streams.errors import NOT_READABLE
from execstream.workload.simulation import Mix, load_graphs, simulate
from tests.attacks.extremes import extremes
from tests.orders import DAWN, Order, Orders
from tests.whole.bad_records import DEAD
from tests.whole.understood_records import REFUSED, STRANGE

Record = tuple[bytes | None, bytes]  # key and value

_GRAPHS = Path(__file__).resolve().parent.parent / "examples" / "graphs"
_SIMULATED = 2_000
_LONGEST = 70_000  # bytes of a command that is mutated
_ROOM = 200  # bytes of an extreme value that can be of any size

_ID, _OTHER = b"01900000-0000-7000-8000-0000000000ff", b"0190abcd-ef01-7234-8567-89abcdef0123"


def _texts(*texts: str | bytes) -> list[bytes]:
    """As strings of JSON, with unescaped characters."""
    return [b'"' + (one.encode() if isinstance(one, str) else one) + b'"' for one in texts]


_IDS = _texts(
    *(_ID, _OTHER, _ID.upper(), _ID[:-1], _ID + b"0", _ID[1:], b"0" + _ID, _ID.replace(b"-", b"")),
    *(_ID + rb"\n", _ID + rb"\u0000", b" " + _ID, b"{" + _ID + b"}", b"urn:uuid:" + _ID, b""),
    *(_ID.replace(b"-", b"_"), _OTHER.replace(b"a", b"g"), b"0" * 36, b"-" * 36, _ID[::-1]),
    *(_ID.replace(b"f", b"F"), rb"\u0030" + _ID[1:], rb"0\u0000" + _ID[1:], _ID + b" " + _ID),
    *("\N{FULLWIDTH DIGIT ZERO}" + _ID.decode()[1:], "\N{ARABIC-INDIC DIGIT ONE}" * 36, b"ada"),
)
_NAMES = _texts(
    *(b"a", b"", b"x" * 128, b"x" * 129, b"a b", b"a/b", b"a_.:@|-Z", rb"a\n", rb"\n", b"*"),
    b"a\\\\",
    *("é", "а", "\N{KELVIN SIGN}", "\N{LATIN SMALL LETTER LONG S}", rb"a\u0000", rb"\u0061"),
    b"a\x7f",
    *(_ID, b"0", b"null", b"a,b", b"a;b", b"a\xcc\x81", b"a\xff"),
)
_MIDDAY = b"2026-03-01T12:30:00"
_ZONES = (b"Z", b"z", b"", b"+00:00", b"-00:00", b"+05:30", b"+23:59", b"-23:59", b"+24:00")
_NO_ZONES = (b"+00:60", b"+0530", b"+05", b"+05:30:15", b" Z", b"ZZ", rb"Z\n", b"UTC", b"-00:60")
_FRACTIONS = (b".1234567890Z", b",5Z", b".-1Z", b".5", b".9e1Z", b".5+01:00", b".Z")
_DAYS = (b"02-29", b"02-30", b"00-10", b"13-01", b"04-31", b"1-1", b"12-31", b"01-00")
_HOURS = (b"t06:30:00Z", b" 06:30:00Z", b"T24:00:00Z", b"T23:59:60Z", b"T23:60:00Z", b"T6:30:00Z")
_TIMES = _texts(
    *(_MIDDAY + zone for zone in _ZONES + _NO_ZONES + _FRACTIONS),
    *(_MIDDAY + b"." + b"123456789"[:digits] + b"Z" for digits in range(10)),
    *(b"2026-03-01" + hour for hour in (*_HOURS, b"T06:30Z", b"T063000Z", b"", b"T")),
    *(b"2026-" + day + b"T06:30:00Z" for day in _DAYS),
    *(b"2024-02-29T00:00:00Z", b"2100-02-29T00:00:00Z", b"2026-W09-7T06:30:00Z"),
    b"20260301T063000Z",
    *(b"0000-01-01T00:00:00Z", b"0001-01-01T00:00:00Z", b"0001-01-01T00:00:00.000001Z"),
    *(b"0001-01-01T00:00:00+00:01", b"0001-01-01T00:01:00.000001+00:01", b"10000-01-01T00:00:00Z"),
    *(b"9999-12-31T23:59:59.999999Z", b"9999-12-31T23:59:59.999998999Z", b"-001-01-01T00:00:00Z"),
    *(b"9999-12-31T23:59:59.999999-00:01", b"9999-12-31T23:59:00-00:01", b"1772346600", b"now"),
    *("２026-03-01T06:30:00Z", "2026-03-01T06:3٠:00Z", "2026‐03‐01T06:30:00Z"),
    "2026-03-01T06:30:00Ｚ",
)
# Texts like those of JSONTestSuite: accepted by parsers, refused, or disputed.
_JSON = [
    *(b"null", b"true", b"false", b"0", b"-0", b"1", b"5", b'""', b"[]", b"{}", b"[1]", b'{"a":1}'),
    b"1.0",
    *(b"2147483647", b"2147483648", b"18446744073709551616", b"-1", b"1e0", b"1.5", b"01", b"+1"),
    b".5",
    *(b"1.", b"1e", b"1e+", b"-", b"- 1", b"0x1", b"1_000", b"NaN", b"Infinity", b"-Infinity"),
    b"nul",
    *(b"True", b"tru", b"'a'", b'"a', b'a"', b'"\\"', b'"\\a"', b'"\\x00"', b'"\\u"', b'"\\u12"'),
    b'"\\u12g4"',
    *(b'"\\ud800"', b'"\\udc00"', b'"\\ud83d\\ude00"', b'"\\ud83d\\u0041"', b'"\\uD800\\uD800\\n"'),
    b'"\\u0000"',
    *(b'"\t"', b'"\n"', b'"\x00"', b'"\x1f"', b'"\x7f"', b'"\xff"', b'"\xc0\x80"'),
    *(b'"\xed\xa0\x80"', b'"\xe2\x82"'),
    *(b'"\xf4\x90\x80\x80"', b'"\xf0\x9f\x98\x80"', b"\xef\xbb\xbf1", b"[1,]", b"[,1]", b"[1 2]"),
    *(b"[", b"]"),
    *(b"[[]", b"[]]", b"{", b"}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{,}", b"{1:1}", b"{a:1}"),
    b'{"a":1 "b":2}',
    *(b'{"a":1,"a":2}', b'{"":{}}', b'{"\\u0000":1}', b'{"a":1}}', b"[1]//", b"/**/1", b"#"),
    *(b"1 1", b"", b" ", b"\x0c1"),
    *(b"\xc2\xa01", b" {} ", b"\t[\n]\r", b"[1,\t2]", b'"\\/"', b'"\\\\u0000"', b'"\\\\\\u0000"'),
    *(b'"\\u00e9"', b'"\\b"'),
    *(b'"\\f\\n\\r\\t"', b'"\\u000A"', b'"\\u007f"', b'"\\u007F"', b'"\\u001f"', b'"\\u0020"'),
    *(b'"\\\\b"', b'"\\\\\\b"'),
    *(b"[" * deep + b"]" * deep for deep in (64, 126, 127, 128, 129, 500)),
    *(b'{"a":' * deep + b"1" + b"}" * deep for deep in (126, 127, 128, 129)),
    *(b'[{"a":' * deep + b"1" + b"}]" * deep for deep in (63, 64, 65)),
    *(b'"' + b"[{" * 100 + b'"', b'"\\"' + b"[{" * 100 + b'"', b"[" * 200, b"]" * 200),
]
_NUMBERS = [
    *(b"1e999", b"1e9999", b"1e131071", b"1e131072", b"-1e131072", b"1E+131072", b"1e0131072"),
    b"0e999999",
    *(b"1e-16383", b"1e-16384", b"1e-0016384", b"0.1e-16383", b"10e131071", b"0.00001e131076"),
    b"1e99999999999",
    *(b"1e-99999999999", b"0.0e-99999", b"1.5e308", b"5e-324", b"123456789012345678901234567890"),
    b"1e600000",
    *(b"9" * 4_100, b"0." + b"1" * 4_100, b"9" * 2_100 + b"." + b"9" * 2_100, b"[1e600,2e600]"),
    b"[1e60000,1e60000]",
    b"[" + b",".join([b"1e130000"] * 9) + b"]",
]
# As in lists of naughty strings; the invisible ones by their numbers.
_NAUGHTY = _texts(
    *("undefined", "NULL", "(null)", "1/0", "--", "'; drop table runs; --", "<script>"),
    *("${jndi:x}", "%s%n"),
    *("Ω≈ç√∫˜µ≤≥÷", "田中さん", "👾🇺🇳", "ﷺ", "Z\u0351\u036b"),
    *("ı İ ß ẞ ŉ", "\u0321\u0353"),
    *map(chr, (0x7F, 0x80, 0x85, 0xA0, 0xAD, 0x61C, 0x180E, 0x200B, 0x200F, 0x2028, 0x202E)),
    *map(chr, (0x2060, 0x2066, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x1F3F4, 0xE0001, 0x10FFFF)),
    *(rb"\u0001", rb"\u0008\u000b\u000c", rb"a\u0000b", rb"\\u0000", rb"\\\\u0000", rb"\\\u0000"),
    *(rb"\u00e9", rb"\""),
    *(b"x" * 512, b"x" * 513, rb"\u0001" * 512, rb"\u0001" * 513, "é" * 512, "😀" * 512),
    "😀" * 513,
    rb"\ud83d\ude00" * 512,
)
_STATUSES = _texts("QUEUED", "running", "RUNNING", "INCOMPLETE", "DONE", "")
_TYPES = _texts(
    *("graph.start", "graph.update", "node.update", "kv.set", "graph.Start", "", "unheard"),
    rb"graph\u002estart",
)
POOLS = [_IDS, _NAMES, _TIMES, _JSON, _NUMBERS, _NAUGHTY, _STATUSES, _TYPES]
_BYTES = [bytes([one]) for one in b'"\\{}[]:,0 eE-\n\x00\x7f\xff\xc3u']
_BYTES += [rb"\u0000", rb"\\", b"\xef\xbb\xbf"]

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_Fields = list[tuple[bytes, bytes]]  # names and values as JSON


def records(seed: int, count: int) -> Iterator[Record]:
    """`count` of them: a tenth as they are, the others mutated once to three times."""
    random = Random(seed)
    bases = _bases()
    for _ in range(count):
        key, value = random.choice(bases)
        yield (key, value) if random.random() < 0.1 else _mutated(random, key, value)


def lives(seed: int, count: int) -> Iterator[Record]:
    """`count` commands of runs in the order of a simulation, so that most are applied: some are
    mutated, some come again, mutated or not, and others too early.
    """
    random = Random(seed)
    simulation = _simulated(seed, runs=count)
    while count > 0:
        some = [(key, value) for key, value in islice(simulation, random.randint(1, 20))]
        if random.random() < 0.3:
            some.insert(random.randrange(len(some)), _mutated(random, *random.choice(some)))
        if random.random() < 0.1:
            index = random.randrange(len(some))
            some[index] = _mutated(random, *some[index])
        if random.random() < 0.1:
            some.append(random.choice(some))
        if random.random() < 0.05:
            random.shuffle(some)
        yield from some[:count]
        count -= len(some)


def _mutated(random: Random, key: bytes | None, value: bytes) -> Record:
    fields = _parted(value)
    for _ in range(random.choice((1, 1, 2, 3))):
        random.choice(_CHANGES)(random, fields)
    value = _joined(random, fields) if fields else value
    if random.random() < 0.2:
        value = _with_a_byte(random, value)
    if random.random() < 0.02:
        key = random.choice((None, b"", (key or b"") + b"\n", (key or b"")[:-1], _ID, b"\xff"))
    return key, value


def _simulated(seed: int, runs: int) -> Iterator[Record]:
    graphs = load_graphs(_GRAPHS)
    yield from simulate(graphs, runs=runs, seed=seed, start=DAWN, mix=Mix.field())


@cache
def _bases() -> list[Record]:
    found = list(islice(_simulated(1, _SIMULATED), _SIMULATED))
    cases = (DEAD | REFUSED | STRANGE).values()
    orders = [order for case in cases for order in case.make(Orders(_OTHER.decode()))]
    orders += [_extreme(one.command, one.field, one.fill) for one in extremes()]
    found += [
        (one.key, one.value) for one in orders * 2 if one.value and len(one.value) <= _LONGEST
    ]
    return found


def _extreme(command: str, field: str, fill: Callable[[int], bytes]) -> Order:
    orders = Orders(_OTHER.decode())
    some = {
        "graph.create": orders.create(orders.node("n", inputs={"a": 1})),
        "graph.start": orders.start(),
        "graph.update": orders.move("RUNNING"),
        "graph.share": orders.order("graph.share", is_shared=False),
        "graph.delete": orders.order("graph.delete"),
        "node.input": orders.give("n"),
        "node.output": orders.emit("n"),
        "node.update": orders.move_step("n", "RUNNING"),
        "node.update_many": orders.move_steps(["n", "m"], "RUNNING"),
        "kv.set": orders.keep(),
    }[command]
    fields = dict(_parted(some.value or b""))
    fields[msgspec.json.encode(field)] = fill(_ROOM)
    return Order(some.key, _plainly(list(fields.items())))


def _parted(value: bytes) -> _Fields:
    try:
        return [(msgspec.json.encode(name), bytes(raw)) for name, raw in _fields(value).items()]
    except NOT_READABLE:
        return []


def _plainly(fields: _Fields) -> bytes:
    return b"{" + b",".join([name + b":" + value for name, value in fields]) + b"}"


def _joined(random: Random, fields: _Fields) -> bytes:
    value = _plainly(fields)
    blank = random.choice((b"", b"", b"", b" ", b"\n", b"\t", b"\r\n", b"\x0b"))
    return blank + value + blank


# ---- ways to change a command ----------------------------------------------------------------


def _hostile(random: Random, name: bytes = b"") -> bytes:
    """A value; one in two of the kind that belongs into the field `name`."""
    fitting = _NAMES
    if name == b'"at"':
        fitting = _TIMES
    elif name.endswith(b'id"') and name not in (b'"user_id"', b'"node_id"', b'"block_id"'):
        fitting = _IDS
    elif name in (b'"status"', b'"type"'):
        fitting = _STATUSES + _TYPES
    elif name.endswith(_PAYLOADS):
        fitting = random.choice((_JSON, _NUMBERS, _NAUGHTY))
    if random.random() < 0.3 and name.endswith(_PAYLOADS):
        return b'{"a":' + random.choice(fitting) + b',"b":[' + random.choice(fitting) + b"]}"
    return random.choice(fitting if random.random() < 0.5 else random.choice(POOLS))


_PAYLOADS = (b'data"', b'inputs"', b'stats"', b'masks"', b'name"', b'"key"')


def _replace(random: Random, fields: _Fields) -> None:
    if fields:
        index = random.randrange(len(fields))
        fields[index] = (fields[index][0], _hostile(random, fields[index][0]))


def _leave_out(random: Random, fields: _Fields) -> None:
    if fields:
        del fields[random.randrange(len(fields))]


def _repeat(random: Random, fields: _Fields) -> None:
    """Of equal names the last counts, for any others."""
    if fields:
        name, value = random.choice(fields)
        other = random.choice((value, _hostile(random, name)))
        fields.insert(random.randrange(len(fields) + 1), (name, other))


def _add(random: Random, fields: _Fields) -> None:
    """A field that there is in another command, or in none."""
    name = random.choice(_ADDED)
    fields.insert(random.randrange(len(fields) + 1), (name, _hostile(random, name)))


_ADDED = _texts(
    *("reply_to", "v", "status", "stats", "node_exec_id", "new_node_exec_id", "hard", "dry_run"),
    *("graph_exec_id", "inputs", "execution_data", "share_token_hash", "preset_id"),
    "starting_nodes",
    *("other", "", "é"),
)


def _swap(random: Random, fields: _Fields) -> None:
    """Give a field the value of another one: a name for an id, an id for a payload."""
    if fields:
        index = random.randrange(len(fields))
        fields[index] = (fields[index][0], random.choice(fields)[1])


def _with_a_byte(random: Random, value: bytes) -> bytes:
    at = random.randrange(len(value) + 1)
    return value[:at] + random.choice(_BYTES) + value[at + random.choice((0, 1, 1, 4)) :]


_CHANGES = (_replace, _replace, _replace, _leave_out, _repeat, _add, _swap)


def moment_of(text: str) -> datetime:
    """The time of a command, without a shorter way."""
    return datetime.fromisoformat(text.upper()).astimezone(UTC)
