"""What kind of error a step failed with, and which errors are the same one.

Errors come as text. A fingerprint is the text with what changes from one occurrence to the next
masked out; the class tells whose move it is. Both are guesses from words: rules are in one table,
the first that matches counts, and a text that none matches is of class OTHER.
"""

import re
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


# Read a row as "it is X when the text says …", from top to bottom; letter case does not matter.
# Numbers are status codes of HTTP, which are looked for only where a word says that they are one.
_RULES: tuple[tuple[ErrorClass, str], ...] = (
    (ErrorClass.QUOTA, r"rate.?limit|too many requests|quota|insufficient.{0,9}(?:funds|balance)"),
    (ErrorClass.QUOTA, r"(?:insufficient|out of|not enough) credits?|usage limit|billing"),
    (ErrorClass.QUOTA, r"{status}(?:402|429)"),
    (ErrorClass.CREDENTIALS, r"unauthori[sz]ed|unauthenticated|authenticat|forbidden"),
    (ErrorClass.CREDENTIALS, r"(?:invalid|missing|expired|incorrect).{0,20}(?:api.?key|token\b)"),
    (ErrorClass.CREDENTIALS, r"(?:no|revoked|wrong).{0,9}(?:api.?key|token\b|secret|password)"),
    (ErrorClass.CREDENTIALS, r"(?:invalid|missing|expired).{0,20}(?:credential|password|secret)"),
    (ErrorClass.CREDENTIALS, r"credentials?\b.{0,30}(?:invalid|missing|expired|not found)"),
    (ErrorClass.CREDENTIALS, r"permission denied|access denied|{status}(?:401|403)"),
    (ErrorClass.TIMEOUT, r"time[ds]?.?out|deadline exceeded|{status}(?:408|504)"),
    (ErrorClass.OUTAGE, r"(?:service|temporarily|currently|server).{0,20}unavailable|overloaded"),
    (ErrorClass.OUTAGE, r"internal server error|bad gateway|{status}5\d\d"),
    (ErrorClass.OUTAGE, r"connection.{0,20}(?:refused|reset|closed|aborted|error|failed)"),
    (ErrorClass.OUTAGE, r"cannot connect|connect call failed|name resolution|getaddrinfo"),
    (ErrorClass.OUTAGE, r"dns|unreachable|broken pipe|\bssl|remote.{0,9}disconnected"),
    (ErrorClass.INPUT, r"validation|invalid|required|missing|must (?:be|have|not)|malformed"),
    (
        ErrorClass.INPUT,
        r"not found|does not exist|unsupported|unexpected|cannot parse|too l(?:ong|arge)",
    ),
    (ErrorClass.INPUT, r"bad request|{status}4\d\d|(?:value|type|key|index|jsondecode)error"),
)
_STATUS = r"(?:\bhttp(?:/[\d.]+)?|\bstatus(?:.?code)?|\bcode|\berror)\W{0,4}"

_CLASSES = [
    (kind, re.compile(pattern.replace("{status}", _STATUS), re.IGNORECASE))
    for kind, pattern in _RULES
]

# In this order: a later mask would tear apart what an earlier one recognises.
_MASKS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "<uuid>",
        re.compile(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b", re.I),
    ),
    ("<hash>", re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{16,}\b|\b0x[0-9a-f]+\b", re.IGNORECASE)),
    ("<url>", re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>)\]}]+", re.IGNORECASE)),
    (
        "<path>",
        re.compile(r"(?<![\w.<>/])(?:~|[a-z]:)?(?:[/\\][\w.@+-]+){2,}[/\\]?", re.IGNORECASE),
    ),
    ("<email>", re.compile(r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+\b")),
    ("<n>", re.compile(r"(?<![a-z_<])\d+(?:[.,:]\d+)*", re.IGNORECASE)),
)


class Fault(NamedTuple):
    """An error as it is counted. `fingerprint`: 16 hexadecimal digits of `masked`'s hash."""

    kind: ErrorClass
    fingerprint: str
    masked: str


def judge(text: str) -> Fault:
    """The class and fingerprint of an error's text."""
    return _judge(text[:MOST_READ])  # cut before it is kept: texts have any length


@lru_cache(maxsize=4_096)  # what fails, fails again
def _judge(text: str) -> Fault:
    masked = mask(text)
    fingerprint = blake2b(masked.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return Fault(classify(text), fingerprint, masked)


def classify(text: str) -> ErrorClass:
    for kind, pattern in _CLASSES:
        if pattern.search(text):
            return kind
    return ErrorClass.OTHER


def mask(text: str) -> str:
    """`text` without UUIDs, hashes, URLs, paths, e-mail addresses and numbers, on one line."""
    for name, pattern in _MASKS:
        text = pattern.sub(name, text)
    return " ".join(text.split())[:MOST_KEPT]
