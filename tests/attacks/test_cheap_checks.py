"""A million hostile and real records: the cheap checks of the decoder change nothing, and each of
them, made too generous, is found out."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from execstream.streams import decoding, forms
from execstream.streams.commands import NAME, UUID, Command
from tests.hostile_commands import records
from tests.strict_decoding import first_difference

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(1_800)]

_RECORDS = 1_000_000
_SEED = 24
Patch = Callable[[pytest.MonkeyPatch], None]


def test_the_cheap_checks_change_nothing() -> None:
    """The same command or the same dead letter, with the same detail, as without them."""
    assert first_difference(records(_SEED, _RECORDS)) is None


def _put(owner: Any, name: str, value: Any) -> Patch:
    return lambda patch: patch.setattr(owner, name, value)


def _knows_it_too_early(self: Any, texts: tuple[str | None, ...]) -> bool:
    fine = self._seen.issuperset(texts) or all(map(self._is_fine, texts))
    self._seen.update(texts)
    return fine


def _looks_at_no_names(command: Command) -> bool:
    getters = forms._GETTERS.get(command.__class__)
    return (
        getters is not None
        and forms._ID_AND_TIME(f"{command.id} {command.at}") is not None
        and forms._ids.have_form(getters[0](command))
    )


_WITHOUT_END = re.compile(forms._ID_AND_TIME.__self__.pattern.removesuffix(r"\Z"))  # type: ignore[attr-defined]
_MUTANTS = {
    "every text has its form": _put(decoding, "has_forms", lambda _: True),
    "names are not looked at": _put(decoding, "has_forms", _looks_at_no_names),
    "ids need the form of names only": _put(forms, "_ids", forms._Texts(NAME)),
    "a text is known before it is checked": _put(forms._Texts, "have_form", _knows_it_too_early),
    "a time may go on behind its end": _put(forms, "_ID_AND_TIME", _WITHOUT_END.match),
    "lists are no levels": _put(
        decoding, "may_be_deeper", lambda json, levels: json.count(b"{") > levels
    ),
    "only U+0000 is removed": _put(decoding, "may_need_cleaning", lambda json: rb"\u0000" in json),
    "no backslash is escaped": _put(
        decoding, "may_need_cleaning", lambda json: rb"\u000" in json or b"\x7f" in json
    ),
    "objects hold no numbers": _put(decoding, "_STRING", ord("{")),
    "nothing has a bound of its own": _put(decoding, "GROWING", ()),
}


@pytest.mark.parametrize("name", _MUTANTS)
def test_a_check_that_is_too_generous_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the same records."""
    for texts, form in (("_ids", UUID), ("_names", NAME)):
        monkeypatch.setattr(forms, texts, forms._Texts(form))  # none is known yet
    _MUTANTS[name](monkeypatch)
    assert first_difference(records(_SEED, _RECORDS)) is not None
