"""Views, tables and their columns for `docs/sql.md`, from the comments in `comments.sql`."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from execstream.storage.schema.migrate import comments_sql

_COMMENT = re.compile(r"^comment on (\w+) ([\w.\"]+) is '(.*)';$", re.MULTILINE)


class Comment(NamedTuple):
    """A comment; `name` is that of a relation, or of a relation and a column with a dot between."""

    kind: str
    name: str
    text: str


def comments() -> list[Comment]:
    """The comments of the whole schema: each relation before its columns."""
    return [
        Comment(kind, name.replace('"', ""), text.replace("''", "'"))
        for kind, name, text in _COMMENT.findall(comments_sql())
    ]


def relations(kind: str) -> Iterator[str]:
    """Describe the relations of a kind, each with a table of its columns."""
    everything = comments()
    for relation in sorted(one for one in everything if one.kind == kind):
        yield f"### `{relation.name}`\n"
        yield f"{relation.text}.\n"
        yield "| column | content |"
        yield "| --- | --- |"
        for column in everything:
            owner, _, name = column.name.partition(".")
            if column.kind == "column" and owner == relation.name:
                yield f"| `{name}` | {column.text} |"
        yield ""
