"""Class rules of a file: accepted ones, and those refused with a sentence before they can harm."""

from pathlib import Path

import pytest

from execstream.config.settings import Settings, read_settings
from execstream.streams.errors import NotConfigured
from execstream.streams.totals.class_rules import MOST_RULES, WrongRulesError, parse_rules
from execstream.streams.totals.error_classes import Classifier, ErrorClass

GOOD = """
[[rule]]
class = "credentials"
contains = "please sign in (again)"

[[rule]]
class = "outage"
regex = 'shard [0-9]{1,4} (?:is|was)? down'
"""


def one_rule(pattern: str) -> str:
    return f"[[rule]]\nclass = 'other'\nregex = '{pattern}'\n"


def test_rules_hold_in_their_order() -> None:
    """A text is looked for as it is; letter case does not matter."""
    own = Classifier(parse_rules(GOOD))

    assert own.classify("Please sign in (again)!") is ErrorClass.CREDENTIALS
    assert own.classify("Shard 12 was down") is ErrorClass.OUTAGE
    assert parse_rules("") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rule = 1", "nothing else"),
        ("[[rules]]", "nothing else"),
        ("[[rule]", "no TOML"),
        ("[[rule]]\nclass = 'other'", "rule 1: it needs"),
        ("[[rule]]\nclass = 'other'\ncontains = ''", "rule 1: it needs"),
        ("[[rule]]\nclass = 'other'\ncontains = 'a'\nregex = 'b'", "rule 1: it needs"),
        ("[[rule]]\nclass = 'child'\ncontains = 'a'", "'child' is none of input, credentials"),
        ("[[rule]]\nclass = 'weather'\ncontains = 'a'", "'weather' is none of"),
        (one_rule("["), "no regular expression"),
        ("[[rule]]\nclass = 'other'\ncontains = 'a'\n" * (MOST_RULES + 1), "101 rules"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, reason: str) -> None:
    with pytest.raises(WrongRulesError, match=reason):
        parse_rules(text)


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a*)*b", "a+", ".*x", "a{2,}", "(?:ab){1,3}", "(a|a){2}", "a{501}"),
        *("(?=a)b", "(?P<n>a)", "(a)\\1", "a{0,50}a{0,50}", "(?i)a", "[a-z]*"),
        "a?" * 12,
        "(?:a|a|a|a)" * 6,
    ],
)
def test_what_may_take_long_is_refused(pattern: str) -> None:
    with pytest.raises(WrongRulesError):
        parse_rules(one_rule(pattern))


@pytest.mark.parametrize(
    "pattern", ["a\\*", "[*+?]", "[]*]x", "a{1,40}b{1,40}", "x|y|z", "{", "a{}"]
)
def test_what_cannot_take_long_is_taken(pattern: str) -> None:
    """A star that is a character among them."""
    assert parse_rules(one_rule(pattern)) == [(ErrorClass.OTHER, pattern)]


def test_a_wrong_file_is_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason; so is one that is not there."""
    rules = tmp_path / "rules.toml"
    monkeypatch.setenv("EXECSTREAM_CLASS_RULES_FILE", str(rules))
    with pytest.raises(NotConfigured, match=r"CLASS_RULES_FILE.*cannot be read"):
        read_settings()
    rules.write_text(one_rule("a*"))
    with pytest.raises(NotConfigured, match=r"CLASS_RULES_FILE.*rule 1: 'a\*' may take too long"):
        read_settings()
    rules.write_text(GOOD)

    assert len(read_settings().class_rules) == 2
    assert Settings(class_rules_file=None).class_rules == []
