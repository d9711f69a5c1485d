"""The decoder of commands with every check in full, without cheap shortcuts."""

import importlib.util
from collections.abc import Iterable
from types import ModuleType
from typing import Any, NamedTuple

from execstream.streams import decoding, storable_numbers, text
from execstream.streams.commands import Command
from execstream.streams.outcomes import Dead
from tests.hostile_commands import Record, moment_of


def _strict() -> ModuleType:
    """A second module of the same code, with cheap checks that know nothing."""
    spec = importlib.util.find_spec(decoding.__name__)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.has_forms = lambda _: False
    module.may_be_deeper = lambda *_: True
    module.may_need_cleaning = _holds_controls
    module.unstorable = _unstorable
    module.GROWING = tuple(module.COMMAND_TYPES.values())
    module._STRING = None
    return module  # type: ignore[no-any-return]


def _holds_controls(json: bytes) -> bool:
    bare = json.replace(rb"\\", b"")
    return b"\x7f" in json or text._REMOVED_ESCAPE.search(bare) is not None


def _unstorable(payloads: bytes, size: int) -> dict[str, object] | None:
    return storable_numbers._judge(b"," + storable_numbers._numbers(payloads), size)


strict = _strict()


class Difference(NamedTuple):
    """A record of which two decoders make something different."""

    key: bytes | None
    value: bytes
    found: Command | Dead
    expected: Command | Dead


def first_difference(records: Iterable[Record]) -> Difference | None:
    """The first record that the decoder reads otherwise than the strict one; None for none."""
    for key, value in records:
        found, expected = decoding.decode(key, value), strict.decode(key, value)
        if found != expected or (isinstance(found, Command) and found.time != moment_of(found.at)):
            return Difference(key, value, found, expected)
    return None
