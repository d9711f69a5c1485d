"""Redaction of JSON: secrets below the names of keys, in pairs of name and value, and in texts.

Objects and lists keep their shape, so that a redacted command is still valid. Values without a
secret keep their bytes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from execstream.recovery.bundles.secrets import PATTERNS, REDACTED, matcher, without_shapes
from execstream.streams.errors import NOT_READABLE

# Secrets that were found once are found again elsewhere: with so many characters as a whole text,
# and with so many as a part of one. A word of letters alone is none, unless it is long.
SHORTEST_KNOWN = 6
SHORTEST_PART = 8
SHORTEST_WORD = 16

# Keys of an object such as {"name": "password", "value": "…"}.
_NAMES = frozenset(("name", "key", "field", "header", "variable", "parameter", "label"))
_VALUES = frozenset(("value", "values", "val", "data", "default", "content", "text"))

_read_object = msgspec.json.Decoder(dict[str, Raw]).decode
_read_list = msgspec.json.Decoder(list[Raw]).decode
_read_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_REDACTED = _encode(REDACTED)


class Redaction:
    """Redacts values below keys that match a pattern; and secrets in other values.

    Attributes:
        found: the number of redacted values, by path.
        looks_at_values: whether pairs, shapes of secrets, and secrets that were found once are
            redacted, too.
    """

    def __init__(self, patterns: Sequence[str] = PATTERNS, *, looks_at_values: bool = True) -> None:
        self.found: Counter[str] = Counter()
        self.looks_at_values = looks_at_values
        self.is_secret = matcher(patterns)
        self._known: set[str] = set()

    def begin_again(self) -> None:
        """Count from zero; the secrets found so far are redacted everywhere."""
        self.found.clear()

    def apply(
        self, json: bytes, name: str, *, text_only: bool = False, is_secret: bool = False
    ) -> bytes:
        """Return `json`, the value of `name`, redacted.

        `text_only`: numbers stay, as in stats, where `*token*` counts tokens. `is_secret`: the
        value is one, whatever its name.
        """
        is_secret = is_secret or self.is_secret(name)
        return self._value(json, name, is_secret=is_secret, text_only=text_only)

    def text(self, text: str, path: str) -> str:
        """Return a text without the secrets in it."""
        if not self.looks_at_values:
            return text
        redacted = REDACTED if text in self._known else without_shapes(text)
        for secret in self._known:
            if len(secret) >= SHORTEST_PART and secret in redacted:
                redacted = redacted.replace(secret, REDACTED)
        if redacted != text:
            self.found[path] += 1
        return redacted

    def _names_secret(self, fields: Mapping[str, bytes]) -> bool:
        if not self.looks_at_values:
            return False
        names = (value for key, value in fields.items() if is_name(key))
        return any(self.is_name_of_secret(bytes(value)) for value in names)

    def is_name_of_secret(self, json: bytes) -> bool:
        """Return whether a value is a text such as "password"."""
        try:
            return json.lstrip()[:1] == b'"' and self.is_secret(_read_text(json))
        except NOT_READABLE:
            return False

    def _value(self, json: bytes, path: str, *, is_secret: bool, text_only: bool) -> bytes:
        try:
            return self._readable(json, path, is_secret=is_secret, text_only=text_only)
        except NOT_READABLE:  # no UTF-8, or too deep: it may hold a secret
            if not self.looks_at_values:
                return json
            self.found[path] += 1
            return _REDACTED

    def _readable(self, json: bytes, path: str, *, is_secret: bool, text_only: bool) -> bytes:
        first = json.lstrip()[:1]
        if first == b"{":
            return self._object(json, path, is_secret=is_secret, text_only=text_only)
        if first == b"[":
            return self._list(json, path, is_secret=is_secret, text_only=text_only)
        if is_secret and first != b"n" and not (text_only and first != b'"'):
            return self._secret(json, path)
        if first != b'"' or not self.looks_at_values:
            return json
        text = _read_text(json)
        redacted = self.text(text, path)
        return json if redacted == text else _encode(redacted)

    def _object(self, json: bytes, path: str, *, is_secret: bool, text_only: bool) -> bytes:
        fields = _read_object(json)
        is_pair = self._names_secret(fields)
        return _encode(
            {
                key: Raw(
                    self._value(
                        bytes(value),
                        f"{path}.{key}",
                        is_secret=is_secret or self.is_secret(key) or (is_pair and is_value(key)),
                        text_only=text_only,
                    )
                )
                for key, value in fields.items()
            }
        )

    def _list(self, json: bytes, path: str, *, is_secret: bool, text_only: bool) -> bytes:
        items = [bytes(item) for item in _read_list(json)]
        # ["Authorization", "…"], as in lists of headers
        is_pair = self.looks_at_values and len(items) == 2 and self.is_name_of_secret(items[0])
        parts = [
            self._value(
                item,
                f"{path}[]",
                is_secret=is_secret or (is_pair and number == 1),
                text_only=text_only,
            )
            for number, item in enumerate(items)
        ]
        return _encode([Raw(part) for part in parts])

    def _secret(self, json: bytes, path: str) -> bytes:
        self.found[path] += 1
        if self.looks_at_values and json.lstrip()[:1] == b'"':
            self._learn(_read_text(json))
        return _REDACTED

    def _learn(self, secret: str) -> None:
        is_word = secret.isalpha() and len(secret) < SHORTEST_WORD
        if len(secret) >= SHORTEST_KNOWN and not is_word and secret != REDACTED:
            self._known.add(secret)


def is_name(key: str) -> bool:
    """Return whether a key, or a pin, is that of the name in a pair of name and value."""
    return key.lower() in _NAMES


def is_value(key: str) -> bool:
    """Return whether a key, or a pin, is that of the value in a pair of name and value."""
    return key.lower() in _VALUES
