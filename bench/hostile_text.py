"""CPU of the functions that read text of strangers, on texts that are made to be slow.

    .venv/bin/python -m bench.hostile_text [MEGABYTES]

Prints MB/s of the best of some runs, for each function the slowest text last. The goal is 100 MB/s
alone on a machine. Errors are cut before they are judged: `judged` has the speed of whole ones, of
100 kB and 2 MB; for the parts, on texts as long as the cut, the time per text counts.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from execstream.recovery.bundles.secrets import without_shapes
from execstream.streams.scanning import depth
from execstream.streams.storable_numbers import unstorable
from execstream.streams.text import clean_json, escape_controls, may_need_cleaning
from execstream.streams.totals.error_classes import BUILT_IN, MOST_READ, Classifier, mask

Text = TypeVar("Text", bytes, str)

MB = 1_000_000
RUNS = 5

_LOW = [rb"\u%04x" % code for code in range(32)]
_ESCAPES = {
    "one escape": rb"\u0001",
    "escapes among text": rb"\u0001a",
    "all escapes": b"".join(_LOW),
    "all escapes among text": b"".join(one + b"a" for one in _LOW),
    "all escapes in both cases": b"".join(one + one.upper().replace(b"U", b"u") for one in _LOW),
    "escapes of all kinds": b"".join(one + rb"ab\u00e9\b\f\n\\" for one in _LOW),
    "escapes of text": rb"\u00e9\b",
    "escaped backslashes": rb"\\u0000",
    "escapes of line breaks": rb"\u000a\u000d",
    "text": b"The quick brown fox ",
}
_NESTING = {
    "lists": b"[],",
    "opening brackets": b"[",
    "strings": b'"",',
    "objects": b'{"name": "text", "values": [1, 2.5]},',
    "brackets in text": rb'"[{\"",',
}
_NUMBERS = {"integers": b"1,", "exponents": b"1e9,", "long": b"1" * 4_000 + b",", "text": b'"e1",'}
_CONTROLS = {"text": "The quick brown fox ", "controls": "\x1b[2J", "directions": "\u202ea"}
_ERRORS = (
    *("a", "1", "/a", "a@", "a.", "\\", " ", "f0", "http://", "no ", "error ", "invalid "),
    *("status code 4 ", "Connection to 10.0.0.1:5432 x", "insufficient ", "service "),
    "http 5 limit key token credential time connection unavailable ssl missing too l ",
)
_SECRETS = ("a", "eyJ-", "password", "://a:", "bearer ", "sk-")


def main() -> None:
    """Print a line per function and text."""
    size = int(float(sys.argv[1]) * MB) if len(sys.argv) > 1 else 8 * MB
    print(f"load average {os.getloadavg()[0]:.2f}")
    for function, texts in (
        (may_need_cleaning, _ESCAPES),
        (clean_json, _ESCAPES),
        (depth, _NESTING),
        (numbers, _NUMBERS),
    ):
        measure(function, {name: long(text, size) for name, text in texts.items()})
    measure(escape_controls, {name: long(text, MB) for name, text in _CONTROLS.items()})
    measure(without_shapes, {text: long(text, MB) for text in _SECRETS})
    for whole in (MB // 10, 2 * MB):
        measure(judged, {f"{whole:,}: {text}": long(text, whole) for text in _ERRORS}, calls=100)
    for judging in (BUILT_IN.classify, mask):
        measure(judging, {text: long(text, MOST_READ) for text in _ERRORS}, calls=1_000)


def numbers(json: bytes) -> object:
    """Judge the numbers in `json`, as of a command of that size."""
    return unstorable(json, len(json))


def judged(error: str) -> object:
    """Judge an error that was not judged before."""
    return Classifier().judge(error)


def long(text: Text, size: int) -> Text:
    """Return `text` again and again, in all `size` bytes or characters, or a little less."""
    return text * (size // len(text))


def measure(
    function: Callable[[Text], object], texts: Mapping[str, Text], *, calls: int = 1
) -> None:
    """Print the speed of `function` for each text; `calls`: in one run."""
    seconds = {
        name: min(_seconds(function, text, calls) for _ in range(RUNS))
        for name, text in texts.items()
    }
    for name in sorted(texts, key=lambda name: seconds[name] / len(texts[name])):
        speed = len(texts[name]) / MB / seconds[name]
        microseconds = seconds[name] * 1e6
        print(f"{function.__name__:18} {speed:9.1f} MB/s {microseconds:12.1f} us  {name}")


def _seconds(function: Callable[[Text], object], text: Text, calls: int) -> float:
    """CPU seconds of a call."""
    begun = time.process_time()
    for _ in range(calls):
        function(text)
    return (time.process_time() - begun) / calls


if __name__ == "__main__":
    main()
