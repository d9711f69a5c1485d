"""The forms of texts in commands: types that enforce them, and a check that costs little.

Texts that pass the check have their forms. For the rest, only decoding the command as the type that
enforces forms finds whether a text misses its form, and which.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from operator import attrgetter, or_
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from execstream.streams.commands import (
    COMMAND_TYPES,
    NAME,
    TIME,
    UUID,
    Command,
    Form,
    Name,
    Uuid,
)

# ---- types that enforce forms --------------------------------------------------------------

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


def enforcing(kind: Any, instead: Mapping[Any, Any] = _NOTHING) -> Any:
    """Return `kind`, a type, with the forms in it as patterns of msgspec's; newly made structs.

    `instead`: types that take the place of others, as they are.
    """
    if kind in instead:
        return instead[kind]
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _enforcing_struct(kind, instead)
    parts = get_args(kind)
    if not parts:
        return kind
    origin = get_origin(kind)
    if origin is Annotated:
        notes = [Meta(pattern=it.pattern) if isinstance(it, Form) else it for it in parts[1:]]
        return Annotated[(enforcing(parts[0], instead), *notes)]
    enforced = tuple(enforcing(part, instead) for part in parts)
    return reduce(or_, enforced) if origin in (Union, UnionType) else origin[enforced]


def _enforcing_struct(kind: type[Struct], instead: Mapping[Any, Any]) -> type[Struct]:
    hints, config = get_type_hints(kind, include_extras=True), kind.__struct_config__
    fields = [
        (
            one.name,
            enforcing(hints[one.name], instead),
            msgspec.field(name=one.encode_name, default=one.default),
        )
        for one in msgspec.structs.fields(kind)
    ]
    return msgspec.defstruct(
        kind.__name__,
        fields,
        namespace={"__doc__": kind.__doc__},
        tag_field=config.tag_field,
        tag=config.tag,
        kw_only=True,
    )


# ---- the check -----------------------------------------------------------------------------

_MOST_SEEN = 32_768  # texts of one form; 5 MB of the longest
_END = r"\Z"
_ID_AND_TIME = re.compile(f"{UUID.removesuffix(_END)} {TIME.removeprefix('^')}").match


class _Texts:
    """A check for texts of one form, which remembers texts that passed lately."""

    def __init__(self, form: str) -> None:
        self._has_form = re.compile(form).match
        self._seen: set[str | None] = {None}  # of a field that is left out

    def have_form(self, texts: tuple[str | None, ...]) -> bool:
        return self._seen.issuperset(texts) or all(map(self._is_fine, texts))

    def _is_fine(self, text: str | None) -> bool:
        if text in self._seen:
            return True
        if text is None or not self._has_form(text):
            return False
        if len(self._seen) >= _MOST_SEEN:
            self._seen = {None}
        self._seen.add(text)
        return True


_Getter = Callable[[Command], tuple[str | None, ...]]


def forms_in(hint: Any) -> Iterator[Form]:
    """The forms that are noted in a type, and in all that is in it."""
    if isinstance(hint, Form):
        yield hint
    elif isinstance(hint, type) and issubclass(hint, Struct):
        for inner in get_type_hints(hint, include_extras=True).values():
            yield from forms_in(inner)
    else:
        for part in get_args(hint):
            yield from forms_in(part)


def _getters() -> Iterator[tuple[type[Command], tuple[_Getter, _Getter]]]:
    """The getters of a command's ids (without its own) and of its names, by command; only for
    commands that have no other texts with a form, nor lists of them.
    """
    for command in COMMAND_TYPES.values():
        hints = get_type_hints(command, include_extras=True)
        ids, names = (
            [name for name, hint in hints.items() if hint in (kind, kind | None)]
            for kind in (Uuid, Name)
        )
        others = [form for hint in hints.values() for form in forms_in(hint)]
        if len(others) == len(ids) + len(names) + 1:  # that of its time
            ids.remove("id")
            yield command, (_getter(ids), _getter(names))


def _getter(names: Sequence[str]) -> _Getter:
    return attrgetter(*names, names[0])  # of one name alone it would get no tuple


_GETTERS = dict(_getters())
_ids, _names = _Texts(UUID), _Texts(NAME)


def has_forms(command: Command) -> bool:
    """Return whether the texts of `command` are known to have their forms; false means unknown."""
    getters = _GETTERS.get(command.__class__)
    return (
        getters is not None
        and _ID_AND_TIME(f"{command.id} {command.at}") is not None
        and _ids.have_form(getters[0](command))
        and _names.have_form(getters[1](command))
    )
