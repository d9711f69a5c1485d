"""Errors of the same kind are recognised as one, and the party that can act is named."""

import re
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from execstream.streams.totals.error_classes import (
    _RULES,
    _STATUS,
    BUILT_IN,
    BUILT_IN_UNTIL_0_1,
    MOST_KEPT,
    MOST_READ,
    Classifier,
    ErrorClass,
    mask,
)
from tests.exploring import exploring

E = ErrorClass

WORDS = {
    "HTTP 429: Too Many Requests": E.QUOTA,
    "openai.RateLimitError: Error code: 429": E.QUOTA,
    "You exceeded your current quota, please check your plan": E.QUOTA,
    "Insufficient credits: have 3, need 12": E.QUOTA,
    "status code 402": E.QUOTA,
    "401 Client Error: Unauthorized for url: https://api.example.com/v1": E.CREDENTIALS,
    "Incorrect API key provided: sk-***": E.CREDENTIALS,
    "AuthenticationError: token expired": E.CREDENTIALS,
    "status: 403": E.CREDENTIALS,
    "No credentials: credentials not found": E.CREDENTIALS,
    "Read timed out. (read timeout=30)": E.TIMEOUT,
    "asyncio.TimeoutError": E.TIMEOUT,
    "context deadline exceeded": E.TIMEOUT,
    "HTTP 504": E.TIMEOUT,
    "HTTP/1.1 503 Service Unavailable": E.OUTAGE,
    "Connection refused": E.OUTAGE,
    "[Errno -3] Temporary failure in name resolution": E.OUTAGE,
    "Error code: 529 - overloaded_error": E.OUTAGE,
    "Internal Server Error": E.OUTAGE,
    "ValidationError: field 'url' is required": E.INPUT,
    "ValueError: could not convert string to float: 'abc'": E.INPUT,
    "HTTP 404": E.INPUT,
    "File does not exist": E.INPUT,
    "graph_execution_terminated": E.OTHER,
    "Something went wrong": E.OTHER,
    "took 500 steps": E.OTHER,
    "": E.OTHER,
}

MASKED = {
    "run 5F1A2B3C-0000-4000-8000-00000000abcd failed": "run <uuid> failed",
    "run 5f1a2b3c000040008000000000000abc failed": "run <uuid> failed",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8": "commit <hash>",
    "at 0x7f3a9c": "at <hash>",
    "GET https://a.example/x/17?key=s3cret failed": "GET <url> failed",
    "no file /home/ada/report 7.pdf": "no file <path> <n>.pdf",
    "no file C:\\Users\\ada\\x.txt": "no file <path>",
    "mail to ada.l+x@mail.example.org bounced": "mail to <email> bounced",
    "took 1,234.5 s at 12:30:05, try 3 of 5": "took <n> s at <n>, try <n> of <n>",
    "model gpt4 on host2 said no": "model gpt4 on host2 said no",
    "two\n  lines": "two lines",
}


@pytest.mark.parametrize(("text", "expected"), WORDS.items())
def test_the_class_tells_whose_move_it_is(text: str, expected: ErrorClass) -> None:
    assert BUILT_IN.classify(text) is expected


@pytest.mark.parametrize(("text", "expected"), MASKED.items())
def test_what_changes_between_occurrences_is_masked(text: str, expected: str) -> None:
    assert mask(text) == expected


def test_bugs_of_a_block_are_not_its_callers() -> None:
    """They counted as such until 0.1.0; its totals are recounted so."""
    for bug in ("KeyError: 'choices'", "TypeError: 'NoneType' object", "list IndexError"):
        assert BUILT_IN.classify(bug) is E.OTHER
        assert BUILT_IN_UNTIL_0_1.classify(bug) is E.INPUT


def test_rules_of_a_file_come_first() -> None:
    """Errors that none of them matches are judged by the built-in ones."""
    own = Classifier([(E.OUTAGE, "shard [0-9]{1,4} is down")])

    assert own.classify("invalid answer: SHARD 17 is down") is E.OUTAGE
    assert own.classify("invalid answer: shard is down") is E.INPUT


def test_a_childs_failure_is_a_fault_of_its_own() -> None:
    """Whatever the words of it; the same words without a child are another error."""
    of_child, own = (BUILT_IN.judge("HTTP 500", is_child=child) for child in (True, False))

    assert (of_child.kind, own.kind) == (E.CHILD, E.OUTAGE)
    assert of_child.fingerprint != own.fingerprint
    assert of_child.masked == own.masked


def test_a_fingerprint_is_of_the_kind_not_of_the_occurrence() -> None:
    """Errors that differ in ids and numbers only have one fingerprint, others have two."""
    one, other = (
        BUILT_IN.judge("step 17: HTTP 500 from https://a.example/1"),
        BUILT_IN.judge("step 4: HTTP 500 from https://b.example/22"),
    )

    assert one == other
    assert one.fingerprint != BUILT_IN.judge("step 17: HTTP 500 from nowhere").fingerprint


@given(st.text(max_size=400))
def test_any_text_gets_a_fingerprint(text: str) -> None:
    """The fingerprint is the same each time, and no longer than the stored length."""
    fault = BUILT_IN.judge(text)

    assert fault == BUILT_IN.judge(text)
    assert len(fault.fingerprint) == 16
    assert len(fault.masked) <= MOST_KEPT


# As version 0.1.0 had them. Fingerprints and classes are stored: their values stay.
FLAGGED_MASKS = (
    (
        "<uuid>",
        r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b",
    ),
    ("<hash>", r"\b(?=[a-f]*\d)[0-9a-f]{16,}\b|\b0x[0-9a-f]+\b"),
    ("<url>", r"\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>)\]}]+"),
    ("<path>", r"(?<![\w.<>/])(?:~|[a-z]:)?(?:[/\\][\w.@+-]+){2,}[/\\]?"),
    ("<email>", r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+\b"),
    ("<n>", r"(?<![a-z_<])\d+(?:[.,:]\d+)*"),
)
PATTERNS = [pattern.replace("{status}", _STATUS) for _, pattern, _ in _RULES]
FOLDED = "\u0130\u0131\u017f\u212a"
PIECES = (
    *("http", "HTTP/1.1", "status", "code", "error", "5", "42", "9", " ", ": ", "\n", "a", "Ab"),
    *("/", "\\", "//", "://", "@", ".", "-", "_", "<", ">", "~", "C:", "x0x1F", "0Xe", "\u0663"),
    *("deadbeef", "00112233", "4455-6677", "invalid", "API key", "Token", "no ", "password"),
    *("credentials", "timed out", "service", "unavailable", "connection", "reset", *FOLDED),
)
texts = st.lists(st.sampled_from(PIECES), max_size=20).map("".join) | st.text(max_size=60)


def flagged_class(text: str) -> ErrorClass:
    """The class of the first row with a pattern that matches, without the word filter."""
    found = (re.search(pattern, text, re.IGNORECASE) for pattern in PATTERNS)
    return next((kind for one, (kind, _, _) in zip(found, _RULES, strict=True) if one), E.OTHER)


def flagged_mask(text: str) -> str:
    for name, pattern in FLAGGED_MASKS:
        text = re.sub(pattern, name, text, flags=re.IGNORECASE)
    return " ".join(text.split())[:MOST_KEPT]


@exploring(short=3_000, long=100_000)
@given(texts)
@example("\u0130nval\u0131d")
@example("TO\u212aEN m\u0131\u017f\u017fing to\u212aen")
def test_class_and_mask_are_those_of_patterns_that_ignore_case(text: str) -> None:
    """On texts of any letters, those that have an ASCII letter as their other case among them."""
    assert BUILT_IN.classify(text) is flagged_class(text)
    assert mask(text) == flagged_mask(text)


@pytest.mark.parametrize("number", range(len(_RULES)))
@exploring(short=100, long=5_000)
@given(st.data())
def test_every_match_has_one_of_the_words(number: int, data: st.DataObject) -> None:
    """No row is skipped for a text that its pattern matches."""
    text = data.draw(st.from_regex(re.compile(PATTERNS[number], re.IGNORECASE)))
    assert BUILT_IN.classify(text) is flagged_class(text)


@pytest.mark.parametrize(
    "piece", ["a", "1", "/a", "a@", "f0", "a.", "invalid ", "\\", "http://", "error ", " "]
)
def test_a_text_is_judged_by_its_beginning(piece: str) -> None:
    """So no text takes long."""
    text = piece * (1_000_000 // len(piece))
    assert (
        BUILT_IN.judge(text)
        == BUILT_IN.judge(text[:MOST_READ])
        == BUILT_IN.judge(text[:MOST_READ] + "HTTP 429")
    )


def test_of_a_long_text_little_is_kept() -> None:
    """Repeated errors are known; megabytes of their text are not held for that."""
    tracemalloc.start()
    for number in range(5):
        BUILT_IN.judge(f"{number} failed " + "a" * 1_000_000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 100_000
