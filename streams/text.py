"""Control characters: taken out of what is stored, and escaped in what a terminal shows.

Removed, since Postgres cannot hold U+0000: U+0000–0008, 000B, 000C, 000E–001F and 007F, in strings
and in the keys of objects. Everything else stays as sent; JSON is rewritten as bytes, so numbers
keep their digits. Senders choose the text, so no step calls Python once per character or escape.
"""

import re
from unicodedata import category

_REMOVED = [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F]
_REMOVED_BYTES = bytes(_REMOVED)

# In JSON a backslash occurs only inside strings and always begins an escape. Without escaped
# backslashes each of them begins another escape.
_ESCAPED_BACKSLASH = rb"\\"
_STAND_IN = b"\x00"  # for an escaped backslash; occurs in no valid JSON
_LOW = rb"\\u00[01][0-9a-fA-F](?<!0[9aAdD])"  # below U+0020, but for tab and line breaks
_LOW_ESCAPE = re.compile(_LOW)
_LOW_ESCAPES = re.compile(rb"(?:" + _LOW + rb")++")
_OTHER_ESCAPES = (rb"\b", rb"\f", rb"\u007f", rb"\u007F")
_REMOVED_ESCAPE = re.compile(_LOW + rb"|\\(?:[bf]|u007[fF])")
_SPELLINGS = 3  # of escapes that are removed one by one: twice as fast as all together
# Categories of Unicode: controls, formats, surrogates, separators of lines and of paragraphs.
_ACTING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"
_LAYOUT = "\n\t"


def clean_text(text: str) -> str:
    """`text` without control characters."""
    utf8 = text.encode("utf-8", "surrogatepass")
    return utf8.translate(None, _REMOVED_BYTES).decode("utf-8", "surrogatepass")


def escape_controls(text: str, *, is_block: bool = False) -> str:
    r"""Return `text` for a terminal: each character that acts instead of being seen is escaped.

    These are C0, C1, line separators, surrogates and formats, bidirectional ones among them; only
    the joiners of scripts and emoji stay. The escape is Python's, as in `\x1b`. A block keeps its
    line feeds and tabs. The result of a second call is the same text.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or _is_harmless(char, is_block=is_block) else _escape(char)
        for char in text
    )


def _is_harmless(char: str, *, is_block: bool) -> bool:
    if char in _JOINERS or (is_block and char in _LAYOUT):
        return True
    return category(char) not in _ACTING


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def may_need_cleaning(json: bytes) -> bool:
    """Whether valid JSON `json` holds a control character; false for nearly everything, and
    cheap."""
    if b"\x7f" in json:
        return True
    if b"\\" not in json:
        return False
    return _REMOVED_ESCAPE.search(json.replace(_ESCAPED_BACKSLASH, b"")) is not None


def clean_json(json: bytes) -> bytes:
    """Valid JSON `json` with control characters removed from its strings."""
    json = json.replace(b"\x7f", b"")
    if b"\\" not in json:
        return json
    json = json.replace(_ESCAPED_BACKSLASH, _STAND_IN)
    for escape in _OTHER_ESCAPES:
        json = json.replace(escape, b"")
    return _without_low_escapes(json).replace(_STAND_IN, _ESCAPED_BACKSLASH)


def _without_low_escapes(json: bytes) -> bytes:
    for _ in range(_SPELLINGS):
        match = _LOW_ESCAPE.search(json)
        if match is None:
            return json
        json = json.replace(match.group(), b"")
    return b"".join(_LOW_ESCAPES.split(json))
