"""The house: names of files and identifiers, and sizes of rooms."""

import ast
from collections import Counter
from collections.abc import Iterator

from tests.rooms import MODULES, ROOMS, ROOT

LARGEST_SHARE = 0.19
MOST_NAMESAKES = 3
# Words that stand for nothing in the field; the glossary has the terms that took their place.
BANNED = frozenset(
    {
        *("Stretch", "Portion", "News", "Saying", "Told", "Place", "Leftover", "burying"),
        *("lenient", "hang_up", "get_in", "retelling", "recounting", "refolding"),
        *("kept_totals", "leftover_totals", "troubles", "wholly", "fares"),
    }
)
BANNED_MODULES = BANNED | {"mending"}
SHIPPED = (".css", ".html", ".js", ".py", ".sql")


def files_of(room: str) -> list[str]:
    """Names of a room's own modules and scripts; a package's `__init__` is named by its folder."""
    found = (file for end in ("*.py", "*.js") for file in (ROOT / room).rglob(end))
    return [file.name for file in found if file.stem != "__init__" and "vendor" not in file.parts]


def identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "asname"):
            if isinstance(name := getattr(node, field, None), str):
                yield name.rpartition(".")[2]


def test_identifiers_are_terms_of_the_field() -> None:
    """No banned word is an identifier or the name of a module."""
    found = {
        f"{module.relative_to(ROOT)}: {name}"
        for module in MODULES
        for name in (*identifiers(ast.parse(module.read_text(encoding="utf-8"))), module.stem)
        if name in BANNED or (name in BANNED_MODULES and name == module.stem)
    }
    assert found == set()


def test_a_file_name_leads_to_one_file() -> None:
    """A name occurs once in a room, and three times in all rooms at most."""
    rooms = {room: Counter(files_of(room)) for room in ROOMS}
    assert {
        room: twice for room, names in rooms.items() if (twice := names - Counter(set(names)))
    } == {}
    everywhere = sum(rooms.values(), Counter[str]())
    assert {name for name, count in everywhere.items() if count > MOST_NAMESAKES} == set()


def test_no_room_is_a_house_of_its_own() -> None:
    """No room has more than LARGEST_SHARE of the shipped lines. Migrations, which are never taken
    away, count once: in their sum.
    """
    lines = {
        room: sum(
            len(file.read_text(encoding="utf-8").splitlines())
            for file in (ROOT / room).rglob("*")
            if file.suffix in SHIPPED and not {"vendor", "migrations"} & set(file.parts)
        )
        for room in ROOMS
    }
    total = sum(lines.values())
    assert {
        room: round(n / total, 3) for room, n in lines.items() if n > LARGEST_SHARE * total
    } == {}
