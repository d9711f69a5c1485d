"""Taking out of JSON what should not leave the house, by the names of its keys.

Objects and lists keep their shape, so that what is redacted is still a valid command. What is not
redacted keeps its bytes.
"""

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

import msgspec
from msgspec import Raw

PATTERNS = (
    *("*password*", "*passwd*", "*secret*", "*token*", "*credential*", "*api_key*", "*apikey*"),
    *("*api-key*", "*authorization*", "*cookie*", "*private_key*"),
)
REDACTED = b'"[redacted]"'

_read_object = msgspec.json.Decoder(dict[str, Raw]).decode
_read_list = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


class Redaction:
    """Redacts values below keys that match a pattern, whatever their case.

    Attributes:
        found: how many values were redacted, by path.
    """

    def __init__(self, patterns: Sequence[str] = PATTERNS) -> None:
        self.found: Counter[str] = Counter()
        lowered = [pattern.lower() for pattern in patterns]

        @lru_cache(maxsize=4096)
        def matches(name: str) -> bool:
            return any(fnmatchcase(name.lower(), pattern) for pattern in lowered)

        self._matches = matches

    def apply(self, json: bytes, name: str, *, text_only: bool = False) -> bytes:
        """`json`, the value of `name`, redacted; `text_only`: numbers stay, as in stats, where
        `*token*` counts tokens."""
        return self._value(json, name, is_secret=self._matches(name), text_only=text_only)

    def _value(self, json: bytes, path: str, *, is_secret: bool, text_only: bool) -> bytes:
        first = json.lstrip()[:1]
        if first == b"{":
            return _encode(
                {
                    key: Raw(
                        self._value(
                            bytes(value),
                            f"{path}.{key}",
                            is_secret=is_secret or self._matches(key),
                            text_only=text_only,
                        )
                    )
                    for key, value in _read_object(json).items()
                }
            )
        if first == b"[":
            parts = [
                self._value(bytes(one), f"{path}[]", is_secret=is_secret, text_only=text_only)
                for one in _read_list(json)
            ]
            return _encode([Raw(part) for part in parts])
        if not is_secret or first == b"n" or (text_only and first != b'"'):
            return json
        self.found[path] += 1
        return REDACTED
