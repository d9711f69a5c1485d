"""No record stops the path from a record to its message, and none comes out otherwise than in the
reference."""

from pathlib import Path
from typing import Any

import pytest

from execstream.storage.redis.messages import run_views as views
from execstream.streams import decoding, rules
from tests.fuzz import corpus
from tests.fuzz.path import fails, follow
from tests.hostile_commands import lives, records

CHAPTER = 3_000  # records
QUICK, MANY, PART = 3, 90, 6  # chapters


@pytest.mark.parametrize("seed", range(QUICK))
def test_runs_that_are_mostly_in_order(seed: int) -> None:
    """Most commands are applied, and each kind of outcome occurs."""
    outcomes, events = follow(list(lives(seed, CHAPTER)))

    assert set(outcomes) == {"applied", "duplicate", "refused", "dead"}
    assert outcomes["applied"] > CHAPTER / 2
    assert {"graph.created", "node.updated", "command.refused"} <= set(events)


def test_commands_that_are_mostly_malformed() -> None:
    outcomes, _ = follow(list(records(0, CHAPTER)))

    assert outcomes["dead"] > CHAPTER / 2


@pytest.mark.attacks
@pytest.mark.parametrize("first", range(QUICK, QUICK + MANY, PART))
def test_many_chapters(first: int) -> None:
    for seed in range(first, first + PART):
        follow(list(lives(seed, CHAPTER)))
        follow(list(records(seed, CHAPTER // 3)))


@pytest.mark.parametrize("file", sorted(corpus.FOLDER.glob("*.jsonl")), ids=lambda file: file.stem)
def test_failures_of_the_past(file: Path) -> None:
    """Records on which the code, or this harness, once failed."""
    follow(corpus.read(file))


@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (decoding, "may_need_cleaning", lambda _: False),
        (decoding, "_check_numbers", lambda *_: None),
        (rules, "is_allowed", lambda *_: True),
        (views, "encode_update", lambda *_: b"{}"),
    ],
)
def test_a_mutant_is_noticed(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, mutant: Any
) -> None:
    """Without one of its checks the code fails within a few chapters."""
    monkeypatch.setattr(owner, name, mutant)
    chapters = [make(seed, CHAPTER) for seed in range(QUICK) for make in (lives, records)]

    assert any(fails(list(some)) for some in chapters)


def test_a_failure_is_cut_down() -> None:
    """To the two records that it takes, wherever they are."""
    some = list(lives(0, 200))
    bad = {some[17], some[150]}

    assert corpus.shrunk(some, lambda left: bad <= set(left)) == [some[17], some[150]]


def test_the_corpus_keeps_every_byte(tmp_path: Path) -> None:
    some = [(None, bytes(range(256))), (b"\xff", b"")]
    corpus.write(tmp_path / "some.jsonl", some)
    assert corpus.read(tmp_path / "some.jsonl") == some
