"""Shortening keeps JSON valid, of the same kind, and within the limit."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from execstream.streams.shortening import FLOOR, shorten

texts = st.one_of(st.text(), st.sampled_from(['"\\\n', "é", "𝄞", "plain "]).map(lambda t: t * 300))
leaves = st.one_of(st.none(), st.booleans(), st.integers(), texts)
values = st.recursive(
    st.one_of(leaves, leaves.map(lambda one: [one] * 150)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(values, st.integers(FLOOR, 4_000), st.booleans())
def test_what_is_shortened_is_valid_and_fits(value: object, limit: int, ascii_only: bool) -> None:
    """Whatever the value and its way of being written, the result parses and fits."""
    text = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    short = shorten(text, limit)
    assert len(short) <= limit
    if len(text) <= limit:
        assert short == text
    elif not isinstance(value, int):
        assert type(json.loads(short)) is type(value)


def test_a_string_keeps_its_ends() -> None:
    """The missing part is counted in characters, however many bytes they take."""
    short = json.loads(shorten(json.dumps("a" * 500 + "z" * 500).encode(), 164))
    assert short == "a" * 50 + "… 900 characters left out …" + "z" * 50


def test_small_values_stay_as_they_are() -> None:
    """Only the largest values are shortened; numbers keep their digits."""
    text = b'{"a":1.50,"b":"' + b"x" * 5_000 + b'","c":[1e2,12345678901234567890]}'
    short = shorten(text, 1_000)
    assert short.startswith(b'{"a":1.50,"b":"xxx')
    assert short.endswith(b'","c":[1e2,12345678901234567890]}')
    assert 900 < len(short) <= 1_000


def test_an_array_of_many_small_values_keeps_its_ends() -> None:
    short = json.loads(shorten(json.dumps(list(range(100_000))).encode(), 10_000))
    marker = "… 99900 values left out …"
    assert short == [*range(50), marker, *range(99_950, 100_000)]


def test_an_object_of_many_items_keeps_its_ends() -> None:
    value = {f"key {number}": number for number in range(10_000)}
    short = json.loads(shorten(json.dumps(value, separators=(",", ":")).encode(), 10_000))
    assert len(short) == 101
    assert short["… 9900 items left out …"] is None
    assert list(short)[-1] == "key 9999"
