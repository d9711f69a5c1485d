"""Errors of the same kind are recognised as one, and it is told whose move it is."""

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.streams.totals.error_classes import MOST_KEPT, ErrorClass, classify, judge, mask

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
    assert classify(text) is expected


@pytest.mark.parametrize(("text", "expected"), MASKED.items())
def test_what_changes_between_occurrences_is_masked(text: str, expected: str) -> None:
    assert mask(text) == expected


def test_a_fingerprint_is_of_the_kind_not_of_the_occurrence() -> None:
    """Errors that differ in ids and numbers only have one fingerprint, others have two."""
    one, other = (
        judge("step 17: HTTP 500 from https://a.example/1"),
        judge("step 4: HTTP 500 from https://b.example/22"),
    )

    assert one == other
    assert one.fingerprint != judge("step 17: HTTP 500 from nowhere").fingerprint


@given(st.text(max_size=400))
def test_any_text_gets_a_fingerprint(text: str) -> None:
    """The same one each time, and no longer than what is kept."""
    fault = judge(text)

    assert fault == judge(text)
    assert len(fault.fingerprint) == 16
    assert len(fault.masked) <= MOST_KEPT


@pytest.mark.parametrize(
    "piece", ["a", "1", "/a", "a@", "f0", "a.", "invalid ", "\\", "http://", "error ", " "]
)
def test_no_text_takes_long(piece: str) -> None:
    """A megabyte of anything is judged in well under a tenth of a second."""
    text = piece * (1_000_000 // len(piece))
    begun = time.perf_counter()
    judge(text)

    assert time.perf_counter() - begun < 0.1


def test_of_a_long_text_little_is_kept() -> None:
    """What fails again is known; megabytes of what it said are not held for that."""
    tracemalloc.start()
    for number in range(5):
        judge(f"{number} failed " + "a" * 1_000_000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 100_000
