"""The gate before a release: changes of a schema that break producers or readers.

`docs/schemas/released/<version>` has the schemas of each released version. A breaking change
fails a test, unless ACCEPTED gives the reason for it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from execstream.cli.schema import CONTRACTS
from execstream.streams.commands import TIME
from execstream.streams.json_schemas import DEFINITIONS

Schema = Mapping[str, Any]

RELEASED = Path(__file__).parent / "schemas" / "released"
SENT_TO_US = ("command", "catalogue")  # written by producers; all others are written for readers
_QUARANTINE = "Quarantine is new, and so is the bound of a compressed batch"
_BOUNDS = "A command is bounded by its growth: larger ones held up all others"
# By version and schema, the intended breaks, with their reasons.
ACCEPTED: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("0.1.0", "command"): {
        "CreateGraph.starting_nodes: maxItems: None before, 1000 now": _BOUNDS,
        "CreateGraph.starting_nodes.items.inputs: maxProperties: None before, 1000 now": _BOUNDS,
    },
    ("0.1.0", "alert"): {
        "AlertMessage.alert.kind: values: without before, ['budget'] now": "Budgets are new",
    },
    ("0.1.0", "reply"): {
        "Reply.outcome: values: without before, ['quarantined'] now": _QUARANTINE,
        "Reply.reason: values: without before, ['batch_too_large', 'copy', 'fault', 'parked', "
        "'quarantined', 'run_quarantined'] now": _QUARANTINE,
    },
}
_TIME_OF_0_1_0 = (
    r"^\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$"
)
# Of each pair of patterns the second matches whatever the first does.
WIDENED = frozenset({(_TIME_OF_0_1_0, TIME.replace(r"\Z", "$"))})

_ANNOTATIONS = {
    *("$schema", "$id", "$defs", "title", "description", "default", "format"),
}
_COMPARED = {
    *("$ref", "oneOf", "anyOf", "type", "enum", "const", "pattern", "properties", "required"),
    *("items", "prefixItems", "additionalProperties", "propertyNames"),
}
_GREATEST = ("maximum", "maxLength", "maxItems", "maxProperties")
_LEAST = ("minimum", "minLength", "minItems", "minProperties")


def breaks(released: Schema, present: Schema, *, sent_to_us: bool) -> list[str]:
    """Return a sentence for each breaking change from `released` to `present`.

    A schema of messages that are sent to us breaks producers when a message that was valid becomes
    invalid. A schema of messages for readers breaks them when a message may come that was not valid
    before: without a field that was always there, or with one of another type. Both break when a
    field is not known any more, which would be ignored or missing. New fields are no break, unless
    producers must send them.
    """
    change = _Change(_Place(released, released), _Place(present, present), sent_to_us)
    return [f"{path or 'all'}: {found}" for path, found in _compared(change, "")]


def breaks_since(version: str, name: str) -> list[str]:
    """Return the breaks of the schema `name` since a released version that are not accepted."""
    accepted = ACCEPTED.get((version, name), {})
    present = CONTRACTS[name].document(name)
    found = breaks(released_schema(version, name), present, sent_to_us=name in SENT_TO_US)
    return [sentence for sentence in found if sentence not in accepted]


def released_schema(version: str, name: str) -> Schema:
    """Return the schema `name` as it was in a released version."""
    file = RELEASED / version / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


class _Place(NamedTuple):
    """A part of a document."""

    part: Schema
    document: Schema

    @property
    def schema(self) -> Schema:
        """The part, or the definition to which it refers."""
        found = self.part
        while "$ref" in found:
            found = self.document["$defs"][found["$ref"].removeprefix(DEFINITIONS)]
        return found

    def at(self, part: Schema) -> "_Place":
        return self._replace(part=part)

    def options(self) -> list["_Place"]:
        schema = self.schema
        for word in ("oneOf", "anyOf"):
            if word in schema:
                return [option for one in schema[word] for option in self.at(one).options()]
        return [self]


class _Change(NamedTuple):
    released: _Place
    present: _Place
    sent_to_us: bool

    @property
    def wide(self) -> _Place:
        """The messages that have to be allowed: those of old producers, or present ones."""
        return self.released if self.sent_to_us else self.present

    @property
    def narrow(self) -> _Place:
        """The rules that must allow them: the present ones, or those of old readers."""
        return self.present if self.sent_to_us else self.released

    def of(self, wide: _Place, narrow: _Place) -> "_Change":
        released, present = (wide, narrow) if self.sent_to_us else (narrow, wide)
        return self._replace(released=released, present=present)


_Breaks = Iterator[tuple[str, str]]  # the place and the change


def _compared(change: _Change, path: str) -> _Breaks:
    wide, narrow = change.wide.options(), change.narrow.options()
    if len(wide) == len(narrow) == 1:
        yield from _of_one(change.of(wide[0], narrow[0]), path)
        return
    for option in wide:  # each must be allowed by one of the others: by the one most like it
        found = [list(_of_one(change.of(option, other), path)) for other in narrow]
        yield from min(found, key=len)


def _of_one(change: _Change, path: str) -> _Breaks:
    wide, narrow = change.wide.schema, change.narrow.schema
    path = path or str(narrow.get("title", ""))
    for rule, *sides in _narrowings(wide, narrow):
        before, now = sides if change.sent_to_us else reversed(sides)
        yield path, f"{rule}: {before} before, {now} now"
    yield from _of_fields(change, path)
    for word in ("items", "propertyNames", "additionalProperties"):
        if word in wide or word in narrow:
            parts = [_plain(schema.get(word, True)) for schema in (wide, narrow)]
            places = change.wide.at(parts[0]), change.narrow.at(parts[1])
            yield from _compared(change.of(*places), f"{path}.{word}")
    tuples = wide.get("prefixItems", []), narrow.get("prefixItems", [])
    if len(tuples[0]) != len(tuples[1]):
        yield path, "prefixItems has another length"
    for index, (one, other) in enumerate(zip(*tuples, strict=False)):
        places = change.wide.at(one), change.narrow.at(other)
        yield from _compared(change.of(*places), f"{path}[{index}]")


def _plain(schema: Any) -> Schema:
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    return schema  # type: ignore[no-any-return]


def _of_fields(change: _Change, path: str) -> _Breaks:
    released = change.released.schema.get("properties", {})
    present = change.present.schema.get("properties", {})
    for name in released:
        if name not in present:
            yield f"{path}.{name}", "is not known any more"
            continue
        places = change.released.at(released[name]), change.present.at(present[name])
        inner = _Change(*places, change.sent_to_us)
        yield from _compared(inner, f"{path}.{name}")
    required = change.narrow.schema.get("required", [])
    for name in sorted(set(required) - set(change.wide.schema.get("required", []))):
        was = "must be sent" if change.sent_to_us else "is not always there any more"
        yield f"{path}.{name}", was


def _narrowings(wide: Schema, narrow: Schema) -> Iterator[tuple[str, Any, Any]]:
    """Find the rules by which `narrow` forbids a value that `wide` allows, fields and items aside:
    the word, and its value in each."""
    types = _types(wide), _types(narrow)
    if types[1] and not (types[0] and types[0] <= types[1]):
        yield "type", _listed(types[0]), _listed(types[1])
    values = _values(wide), _values(narrow)
    if values[1] is not None:
        more = [one for one in values[0] or [] if one not in values[1]]
        if values[0] is None or more:
            yield "values", more or "any", "without"
    patterns = wide.get("pattern"), narrow.get("pattern")
    if patterns[1] not in (None, patterns[0]) and patterns not in WIDENED:
        yield "pattern", *patterns
    for words, sign in ((_GREATEST, 1), (_LEAST, -1)):
        for word in words:
            bounds = wide.get(word), narrow.get(word)
            if bounds[1] is not None and (bounds[0] is None or sign * (bounds[0] - bounds[1]) > 0):
                yield word, *bounds
    known = _ANNOTATIONS | _COMPARED | {*_GREATEST, *_LEAST}
    for word in sorted({*wide, *narrow} - known):
        if wide.get(word) != narrow.get(word):
            yield word, wide.get(word), narrow.get(word)


def _types(schema: Schema) -> set[str]:
    found = schema.get("type", [])
    return {found} if isinstance(found, str) else set(found)


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _listed(types: set[str]) -> str:
    return " or ".join(sorted(types)) or "any"
