"""Wording: plain technical English, measured by habits that it does not have.

Counts are per 10,000 words of docstrings and comments, of texts of more than four words in the code
(messages, help, statements), and of manuals without their code blocks. The limits are the counts
of the day on which they were set, rounded up. They only ever fall.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.rooms import MODULES, ROOT

HABITS = {
    "what": {"what"},
    "tell, say": {"tell", "tells", "told", "telling", "say", "says", "said", "saying"},
    "who": {
        *("who", "whoever", "whose", "whom"),
        *("somebody", "nobody", "anybody", "everybody"),
    },
}
LIMITS = {
    "code": {"what": 2.0, "tell, say": 1.0, "who": 7.0},
    "texts": {"what": 7.0, "tell, say": 4.0, "who": 7.0},
    "manuals": {"what": 5.0, "tell, say": 2.0, "who": 6.0},
}
FRAGMENT = re.compile(r"(What|How|Where|Who|Whether|Of|By|Those|From|When|Like|Not|Without|As)\b")
MOST_FRAGMENTS = 1.0  # percent of docstrings
FEW_WORDS = 4  # of a name, a key or a format
PROGRAMS = (
    *MODULES,
    *(one for room in ("bench", "docs", "ops") for one in (ROOT / room).rglob("*.py")),
)
MANUALS = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def docstrings() -> Iterator[str]:
    for file in PROGRAMS:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
                yield text


def comments() -> Iterator[str]:
    for file in PROGRAMS:
        tokens = tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline)
        yield from (token.string for token in tokens if token.type == tokenize.COMMENT)


def code() -> Iterator[str]:
    yield from docstrings()
    yield from comments()


def texts() -> Iterator[str]:
    """String literals of more than four words that are not docstrings."""
    for file in PROGRAMS:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, DOCUMENTED) and isinstance(node.body[0], ast.Expr)
        }
        yield from (
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
            and len(_words(node.value)) > FEW_WORDS
        )


def manuals() -> Iterator[str]:
    for file in MANUALS:
        yield re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)


KINDS: dict[str, Callable[[], Iterator[str]]] = {"code": code, "texts": texts, "manuals": manuals}


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def rates(found: Iterator[str]) -> dict[str, float]:
    """Occurrences of each habit per 10,000 words."""
    words = Counter(word for text in found for word in _words(text))
    total = sum(words.values())
    return {habit: 1e4 * sum(words[word] for word in of) / total for habit, of in HABITS.items()}


@pytest.mark.parametrize("kind", LIMITS)
def test_habits_do_not_come_back(kind: str) -> None:
    """No habit is more frequent than on the day on which its limit was set."""
    found = rates(KINDS[kind]())
    assert {habit: rate for habit, rate in found.items() if rate > LIMITS[kind][habit]} == {}


def test_docstrings_are_sentences() -> None:
    """No more docstrings than then begin with a fragment."""
    begins = [FRAGMENT.match(text.strip()) is not None for text in docstrings()]
    assert 100 * sum(begins) / len(begins) <= MOST_FRAGMENTS
