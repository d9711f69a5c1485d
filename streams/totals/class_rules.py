"""Class rules of a file: texts and patterns that determine the class of an error, before the table.

The file is TOML:

    [[rule]]
    class = "credentials"
    contains = "please sign in"

    [[rule]]
    class = "outage"
    regex = "shard [0-9]{1,4} is (?:down|away)"

Errors come from strangers, so the time that a pattern can take is bounded before it is used. Each
choice of a pattern (an alternative, a repetition, an optional part) multiplies the ways in which it
can match; the ways of all rules together are limited, and repetitions without a limit are refused.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from execstream.streams.totals.error_classes import ErrorClass, Rule

MOST_RULES = 100
MOST_CHARACTERS = 500  # of a text or pattern
MOST_WAYS = 2_000  # in which the patterns of a file can match, added up

_CLASSES = [kind for kind in ErrorClass if kind is not ErrorClass.CHILD]
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?P<least>\d*)(?P<comma>,?)(?P<most>\d*)\}|\(\?:|\(\?|.",
    re.DOTALL,
)


class WrongRulesError(ValueError):
    """A file of class rules that cannot be used, with the reason in a sentence."""


def parse_rules(text: str) -> list[Rule]:
    """The rules of a file in their order. Raises WrongRulesError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongRulesError(f"it is no TOML: {error}") from error
    found = document.pop("rule", [])
    if document or not isinstance(found, list):
        raise WrongRulesError("it may have tables [[rule]] and nothing else")
    if len(found) > MOST_RULES:
        raise WrongRulesError(f"it has {len(found)} rules, of which {MOST_RULES} are allowed")
    rules, ways = [], 0
    for number, one in enumerate(found, start=1):
        try:
            rules.append(_rule(one))
            ways += _ways(rules[-1][1])
        except WrongRulesError as error:
            raise WrongRulesError(f"rule {number}: {error}") from error
    if ways > MOST_WAYS:
        raise WrongRulesError(
            f"its patterns can match in {ways:,} ways, of which {MOST_WAYS:,} are allowed: use "
            "narrower repetitions and fewer alternatives"
        )
    return rules


def _rule(one: Mapping[str, Any]) -> Rule:
    kind, text = one.get("class"), one.get("contains", one.get("regex"))
    if len(one) != 2 or not isinstance(text, str) or not 0 < len(text) <= MOST_CHARACTERS:
        raise WrongRulesError(
            f"it needs `class` and either `contains` or `regex`, a text of 1 to {MOST_CHARACTERS} "
            "characters"
        )
    if kind not in _CLASSES:
        raise WrongRulesError(f"class {kind!r} is none of {', '.join(_CLASSES)}")
    return ErrorClass(kind), re.escape(text) if "contains" in one else _checked(text)


def _checked(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise WrongRulesError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


def _ways(pattern: str) -> int:
    """The largest number of ways in which `pattern` can match at one place."""
    ways, before, branches = 1, "", [1]
    for token in _TOKEN.finditer(pattern):
        this = token[0]
        if this in ("(?", "*", "+") or re.fullmatch(r"\\[1-9]", this):
            raise WrongRulesError(
                f"{pattern!r} may take too long: use {{0,40}} in place of * and +, and neither "
                "look around nor refer back"
            )
        if token["least"] is not None and (token["least"] or token["comma"]):
            ways *= _times(pattern, before, token)
        elif this == "?":
            ways *= 2
        elif this in ("(", "(?:"):
            branches.append(1)
        elif this == "|":
            branches[-1] += 1
        elif this == ")":
            ways *= branches.pop()
        before = this
    return ways * branches[0]


def _times(pattern: str, before: str, token: re.Match[str]) -> int:
    """The choices of a repetition such as {2,5}."""
    least, most = int(token["least"] or 0), token["most"]
    if before == ")" or (token["comma"] and not most) or int(most or least) > MOST_CHARACTERS:
        raise WrongRulesError(
            f"{pattern!r} may take too long: only single characters may repeat, and up to "
            f"{MOST_CHARACTERS} times"
        )
    return int(most or least) - least + 1
