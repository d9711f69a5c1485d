"""The documents: links between them, and the files they name."""

import json
import re

import pytest

from execstream.cli import app
from execstream.storage.schema.tables import TABLES
from tests.rooms import MODULES, ROOT

DOCUMENTS = sorted(
    file
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", ".github/**/*.md")
    for file in ROOT.glob(pattern)
)
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# A path from the top of the project that ends in a file with a suffix.
_FILE = re.compile(
    r"(?<![\w./-])(?:agents|bench|dashboard|devstack|docs|examples|execstream|storage|streams|tests)"
    r"/[\w./-]*\.(?:json|md|py|sql|yaml)\b"
)
_LOGGED = re.compile(r"\blog\.(?:debug|info|warning|error|critical)\(\s*\"([\w.]+)\"")
_TOLD = re.compile(r"^\| (`[^|]+`) \| (?:debug|info|warning|error|critical) \|", re.MULTILINE)
_SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
_RECORD = ["Context", "Decision", "Measured", "Consequences", "Reasons to reconsider"]
_LONGEST_RECORD = 50  # lines, a page


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = _HEADING.findall(_FENCED.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Each relative link names a file that exists, and a heading that is in it."""
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    for link in _LINK.findall(text):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        assert target.exists(), f"{name} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name} links to {link}"


def test_every_table_has_its_growth() -> None:
    """The page for operators tells of each table by how much a command lets it grow, and what
    deletes its rows."""
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = operations.partition("### How tables grow")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:3] == "| `"]
    assert sorted(row[0].strip("`") for row in rows) == sorted(table.name for table in TABLES)
    assert all(len(row) == 5 and all(row) for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    """Moving or removing a file means that documents about it change too."""
    named = set(_FILE.findall((ROOT / name).read_text(encoding="utf-8")))
    assert not [file for file in sorted(named) if not (ROOT / file).exists()]


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_are_shown_exist(name: str) -> None:
    """Blocks of shell use targets of the Makefile and commands of the program."""
    shown = "".join(_SHELL.findall((ROOT / name).read_text(encoding="utf-8")))
    targets = _TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert set(re.findall(r"^make ([\w-]+)", shown, re.MULTILINE)) <= set(targets)
    assert set(re.findall(r"^execstream (\w+)", shown, re.MULTILINE)) <= set(app)


def test_every_target_of_the_makefile_has_a_recipe() -> None:
    """A phony target without one does nothing, and make succeeds."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert sorted(" ".join(phony).split()) == sorted(_TARGET.findall(makefile))


def test_decisions_have_one_form() -> None:
    """Each record is in the index, has the same parts and fits on a page."""
    folder = ROOT / "docs/decisions"
    records = sorted(folder.glob("[0-9]*.md"))
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[\d{4}\]\(([^)]+)\)", index, re.MULTILINE) == [f.name for f in records]
    for record in records:
        text = record.read_text(encoding="utf-8")
        title, *parts = _HEADING.findall(text)
        assert title.startswith(f"{record.name[:4]}: ")
        assert parts == _RECORD, record.name
        assert len(text.splitlines()) <= _LONGEST_RECORD, record.name


def test_the_container_to_develop_in_is_set_up() -> None:
    """It has files that exist, and runs a target of the Makefile as a user other than root."""
    folder = ROOT / ".devcontainer"
    container = json.loads((folder / "devcontainer.json").read_text(encoding="utf-8"))
    dockerfile = (folder / container["build"]["dockerfile"]).read_text(encoding="utf-8")
    make, target = container["postCreateCommand"].split()
    assert make == "make"
    assert target in _TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert f"\nUSER {container['remoteUser']}\n" in dockerfile
    assert all(f"ARG {name}\n" in dockerfile for name in container["build"]["args"])


def test_every_event_that_is_logged_is_told() -> None:
    """Each log event can be looked up, and no other is documented."""
    sources = (module.read_text(encoding="utf-8") for module in MODULES)
    logged = {event for source in sources for event in _LOGGED.findall(source)}
    rows = _TOLD.findall((ROOT / "docs/operations.md").read_text(encoding="utf-8"))
    assert logged == {event.strip("`") for row in rows for event in row.split(", ")}
