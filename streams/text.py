"""Control characters: removed from stored text, and escaped in terminal output.

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
_BACKSLASH, _DELETE = b"\\\x7f"
_ESCAPED_BACKSLASH = rb"\\"
_REMOVED_ESCAPE = re.compile(rb"\\(?:[bf]|u00(?:[01][0-9a-fA-F](?<!0[9aAdD])|7[fF]))")
_OTHER_ESCAPES = (rb"\b", rb"\f")
_LATER_REMOVED = b"\x00\x00"  # as long as they are
_DELETE_ESCAPES = (rb"\u007f", rb"\u007F")
# Escapes below U+0020 that stay, by the character that Python's decoder makes of them.
_KEPT_ESCAPES = {b"\t": rb"\u0009", b"\n": rb"\u000a", b"\r": rb"\u000d"}
# Bytes that occur in no UTF-8 stand in for an escaped backslash, for the beginning of escapes that
# are not decoded, for that of escapes below U+0020, and for line breaks and tabs between values.
# Stand-ins of the same length are the fastest to put in; short ones spare all later steps their
# part of the bytes.
_BACKSLASH_STAND_IN, _OTHER_STAND_IN = b"\xff\xff", b"\xfe\xfe"
_LOW_STAND_INS = {b"\xf8": rb"\u000", b"\xf9": rb"\u001"}  # and another digit
_BLANKS, _BLANK_STAND_INS = b"\t\n\r", b"\xf5\xf6\xf7"
_HIDE_BLANKS = bytes.maketrans(_BLANKS, _BLANK_STAND_INS)
_SHOW_BLANKS = bytes.maketrans(_BLANK_STAND_INS, _BLANKS)
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
    """Return whether valid JSON `json` holds a control character; false for nearly everything, and
    cheap.
    """
    # Bytes are looked for as numbers: of bytes in bytes Python first tries to make a number.
    if _DELETE in json:
        return True
    if _BACKSLASH not in json:
        return False
    escapes = json.replace(_ESCAPED_BACKSLASH, b"")
    return _BACKSLASH in escapes and _REMOVED_ESCAPE.search(escapes) is not None


def clean_json(json: bytes) -> bytes:
    r"""Valid JSON `json` with control characters removed from its strings.

    Escapes such as `\u000A` of a line feed that stays may get lower case.
    """
    json = json.replace(b"\x7f", b"")
    if b"\\" not in json:
        return json
    json = json.replace(_ESCAPED_BACKSLASH, _BACKSLASH_STAND_IN)
    for stand_in, escape in _LOW_STAND_INS.items():
        json = json.replace(escape, stand_in)
    has_low = any(stand_in in json for stand_in in _LOW_STAND_INS)
    for escape in _OTHER_ESCAPES:
        json = json.replace(escape, _LATER_REMOVED if has_low else b"")
    if _DELETE_ESCAPES[0][:-1] in json:
        for escape in _DELETE_ESCAPES:
            json = json.replace(escape, b"")
    if has_low:
        json = _without_low_escapes(json)
    return _restored(json, _BACKSLASH_STAND_IN, _ESCAPED_BACKSLASH)


def _without_low_escapes(json: bytes) -> bytes:
    """Have Python decode the escapes below U+0020 that have stand-ins, and remove the resulting
    characters.

    Of all ways without Python code per escape this is the fastest on texts full of escapes.
    """
    json = json.translate(_HIDE_BLANKS).replace(rb"\u", _OTHER_STAND_IN)
    for stand_in, escape in _LOW_STAND_INS.items():
        json = json.replace(stand_in, escape)
    json = json.decode("raw_unicode_escape").encode("latin-1")
    for char, escape in _KEPT_ESCAPES.items():
        json = json.replace(char, escape)
    json = json.translate(_SHOW_BLANKS, _REMOVED_BYTES)
    return _restored(json, _OTHER_STAND_IN, rb"\u")


def _restored(json: bytes, stand_in: bytes, text: bytes) -> bytes:
    """Put `text` back, after a look for one byte, which takes a tenth of the time."""
    return json.replace(stand_in, text) if stand_in[:1] in json else json
