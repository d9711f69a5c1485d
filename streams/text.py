"""Taking control characters out of text, which Postgres (U+0000) and terminals cannot hold.

Removed: U+0000–0008, 000B, 000C, 000E–001F and 007F, in strings and in the keys of objects.
Everything else stays as sent; JSON is rewritten as bytes, so numbers keep their digits.
"""

import re

_REMOVED = [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F]
_NO_CONTROLS = dict.fromkeys(_REMOVED)

# In JSON a backslash occurs only inside strings and always begins an escape, so matching every
# escape from left to right cannot start in the middle of one.
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))|\x7f", re.DOTALL)
_SHORT_ESCAPES_REMOVED = (b"b", b"f")  # U+0008, U+000C
_SUSPECTS = re.compile(rb"\\(?:u00|b|f)")


def clean_text(text: str) -> str:
    """`text` without control characters."""
    return text.translate(_NO_CONTROLS)


def may_need_cleaning(json: bytes) -> bool:
    """Whether `json` may hold a control character; false for nearly everything, and cheap."""
    return b"\x7f" in json or (b"\\" in json and _SUSPECTS.search(json) is not None)


def clean_json(json: bytes) -> bytes:
    """Valid JSON `json` with control characters removed from its strings."""
    return _ESCAPE.sub(_keep, json)


def _keep(match: re.Match[bytes]) -> bytes:
    code, short = match.groups()
    if code is not None:
        removed = int(code, 16) in _NO_CONTROLS
    else:
        removed = short is None or short in _SHORT_ESCAPES_REMOVED
    return b"" if removed else match.group()
