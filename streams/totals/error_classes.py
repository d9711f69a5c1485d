"""Classes of the errors of failed steps, and fingerprints of equal ones.

Errors come as text. A fingerprint is the text with its variable parts masked out; the class names
the party that can act. Both are guesses from words: rules are in one table, the first that matches
counts, and a text that none matches is of class OTHER. The rules of a file (`class_rules`) come
before the table. Class CHILD is no guess: the producer names the child.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

MOST_READ = 2_000  # characters; a longer text is judged by its beginning
MOST_KEPT = 300  # characters of a masked text


class ErrorClass(StrEnum):
    INPUT = "input"
    CREDENTIALS = "credentials"
    QUOTA = "quota"
    OUTAGE = "outage"
    TIMEOUT = "timeout"
    OTHER = "other"
    CHILD = "child"


CALLER = frozenset({ErrorClass.INPUT, ErrorClass.CREDENTIALS})
"""Failures that the caller causes, by input or credentials of their own."""


# Read a row as "it is X when the text contains …", from top to bottom; letter case does not matter.
# Numbers are status codes of HTTP, which are looked for only next to a word that announces one. The
# last column has words, one of which is in every text that the pattern matches: a text without them
# is not searched. Stored totals depend on these rows: a changed row is a new version of their
# definition (`definitions`).
_RULES: tuple[tuple[ErrorClass, str, str], ...] = (
    (
        ErrorClass.QUOTA,
        r"rate.?limit|too many requests|quota|insufficient.{0,9}(?:funds|balance)",
        "limit|too many requests|quota|insufficient",
    ),
    (
        ErrorClass.QUOTA,
        r"(?:insufficient|out of|not enough) credits?|usage limit|billing",
        "credit|usage limit|billing",
    ),
    (ErrorClass.QUOTA, r"{status}(?:402|429)", "402|429"),
    (
        ErrorClass.CREDENTIALS,
        r"unauthori[sz]ed|unauthenticated|authenticat|forbidden",
        "authori|authenticat|forbidden",
    ),
    (
        ErrorClass.CREDENTIALS,
        r"(?:invalid|missing|expired|incorrect).{0,20}(?:api.?key|token\b)",
        "key|token",
    ),
    (
        ErrorClass.CREDENTIALS,
        r"(?:no|revoked|wrong).{0,9}(?:api.?key|token\b|secret|password)",
        "key|token|secret|password",
    ),
    (
        ErrorClass.CREDENTIALS,
        r"(?:invalid|missing|expired).{0,20}(?:credential|password|secret)",
        "credential|password|secret",
    ),
    (
        ErrorClass.CREDENTIALS,
        r"credentials?\b.{0,30}(?:invalid|missing|expired|not found)",
        "credential",
    ),
    (
        ErrorClass.CREDENTIALS,
        r"permission denied|access denied|{status}(?:401|403)",
        " denied|401|403",
    ),
    (
        ErrorClass.TIMEOUT,
        r"time[ds]?.?out|deadline exceeded|{status}(?:408|504)",
        "time|dead|408|504",
    ),
    (
        ErrorClass.OUTAGE,
        r"(?:service|temporarily|currently|server).{0,20}unavailable|overloaded",
        "unavailable|overloaded",
    ),
    (
        ErrorClass.OUTAGE,
        r"internal server error|bad gateway|{status}5\d\d",
        "internal server error|bad gateway|5",
    ),
    (
        ErrorClass.OUTAGE,
        r"connection.{0,20}(?:refused|reset|closed|aborted|error|failed)",
        "connection",
    ),
    (
        ErrorClass.OUTAGE,
        r"cannot connect|connect call failed|name resolution|getaddrinfo",
        "connect|name resolution|getaddrinfo",
    ),
    (
        ErrorClass.OUTAGE,
        r"dns|unreachable|broken pipe|\bssl|remote.{0,9}disconnected",
        "dns|unreachable|broken pipe|ssl|disconnected",
    ),
    (
        ErrorClass.INPUT,
        r"validation|invalid|required|missing|must (?:be|have|not)|malformed",
        "validation|invalid|required|missing|must |malformed",
    ),
    (
        ErrorClass.INPUT,
        r"not found|does not exist|unsupported|unexpected|cannot parse|too l(?:ong|arge)",
        "not found|does not exist|unsupported|unexpected|cannot parse|too l",
    ),
    (
        ErrorClass.INPUT,
        r"bad request|{status}4\d\d|(?:value|jsondecode)error",
        "bad request|4|error",
    ),
)
_STATUS = r"(?:\bhttp(?:/[\d.]+)?|\bstatus(?:.?code)?|\bcode|\berror)\W{0,4}"

_CLASSES = [
    (kind, words.split("|"), re.compile(pattern.replace("{status}", _STATUS)))
    for kind, pattern, words in _RULES
]
# Letters that are the same as one of ASCII when letter case does not matter.
_FOLDED = {"\u0130": "i", "\u0131": "i", "\u017f": "s", "\u212a": "k"}
_FOLDS = str.maketrans(_FOLDED)

# Case is spelled out, which is searched several times as fast as with a flag.
_HEX = "0-9a-fA-F"
_LETTERS = f"a-zA-Z{''.join(_FOLDED)}"
# Name, pattern, and a text without which there is nothing to mask. The order matters: a later mask
# would tear apart the matches of an earlier one.
_MASKS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("<uuid>", re.compile(rf"\b[{_HEX}]{{8}}(?:-?[{_HEX}]{{4}}){{3}}-?[{_HEX}]{{12}}\b"), ""),
    ("<hash>", re.compile(rf"\b(?=[a-fA-F]*\d)[{_HEX}]{{16,}}\b|\b0[xX][{_HEX}]+\b"), ""),
    (
        "<url>",
        re.compile(rf"\b[{_LETTERS}][{_LETTERS}0-9+.-]{{1,15}}://[^\s\"'<>)\]}}]+"),
        "://",
    ),
    (
        "<path>",
        re.compile(rf"(?<![\w.<>/])(?:~|[{_LETTERS}]:)?(?:[/\\][\w.@+-]+){{2,}}[/\\]?"),
        "",
    ),
    ("<email>", re.compile(r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+\b"), "@"),
    ("<n>", re.compile(rf"(?<![{_LETTERS}_<])\d+(?:[.,:]\d+)*"), ""),
)


class Fault(NamedTuple):
    """An error as it is counted. `fingerprint`: 16 hexadecimal digits of `masked`'s hash."""

    kind: ErrorClass
    fingerprint: str
    masked: str


Rule = tuple[ErrorClass, str]
"""A class and the pattern of its errors; letter case does not matter."""


class Classifier:
    """Judges errors by the rules `first`, then by those of the table, then by `last`."""

    def __init__(self, first: Iterable[Rule] = (), last: Iterable[Rule] = ()) -> None:
        self._first = list(map(_compiled, first))
        self._last = list(map(_compiled, last))
        self._judge = lru_cache(maxsize=4_096)(self._judge_anew)  # errors repeat

    def judge(self, text: str, *, is_child: bool = False) -> Fault:
        """The class and fingerprint of an error's text. `is_child`: a child run caused it."""
        # Cut before it is kept: texts have any length.
        return self._judge(text[:MOST_READ], is_child)

    def classify(self, text: str) -> ErrorClass:
        """The class of an error's text."""
        return _found(self._first, text) or _built_in(text) or _found(self._last, text) or _OTHER

    def _judge_anew(self, text: str, is_child: bool) -> Fault:
        masked = mask(text)
        # The same words are another error where a child is to blame.
        person = ErrorClass.CHILD.encode() if is_child else b""
        digest = blake2b(masked.encode("utf-8", "replace"), digest_size=8, person=person)
        kind = ErrorClass.CHILD if is_child else self.classify(text)
        return Fault(kind, digest.hexdigest(), masked)


_OTHER = ErrorClass.OTHER
_Pattern = tuple[ErrorClass, re.Pattern[str]]


def _found(patterns: Iterable[_Pattern], text: str) -> ErrorClass | None:
    return next((kind for kind, pattern in patterns if pattern.search(text)), None)


def _built_in(text: str) -> ErrorClass | None:
    if not text.isascii():
        text = text.translate(_FOLDS)
    text = text.lower()
    for kind, words, pattern in _CLASSES:
        if any(word in text for word in words) and pattern.search(text):
            return kind
    return None


def _compiled(rule: Rule) -> _Pattern:
    kind, pattern = rule
    return kind, re.compile(pattern, re.IGNORECASE)


BUILT_IN = Classifier()
# TypeError, KeyError and IndexError are bugs of a block, for which 0.1.0 blamed its caller.
BUILT_IN_UNTIL_0_1 = Classifier(last=[(ErrorClass.INPUT, r"(?:type|key|index)error")])


def mask(text: str) -> str:
    """`text` without UUIDs, hashes, URLs, paths, e-mail addresses and numbers, on one line."""
    for name, pattern, part in _MASKS:
        if part in text:
            text = pattern.sub(name, text)
    return " ".join(text.split())[:MOST_KEPT]
