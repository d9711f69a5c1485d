"""The settings as a page of the documentation.

`python -m execstream.config.settings_table > docs/settings.md` writes it, and a test fails when it
is stale.
"""

from collections.abc import Iterable
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from execstream.config.settings import LOCAL_STATE, SERVERS, Settings, variable

_PAGE = """\
# Settings

Made from `config/settings.py` by `python -m execstream.config.settings_table > docs/settings.md`;
change it there.

A process reads its settings from the environment when it starts. An empty variable counts as not
set. Wrong values are named together, and the process ends with exit code 1.
`execstream config show` tells what is in force, without passwords.

{table}

When no server is named, that is none of {servers},
commands use the local stack that `execstream up` or `execstream demo` keeps in `{state}/`, and
say so on stderr. As soon as one of them is set, each server that a command needs must be named.

Several installations can share the servers, if each has its own
`{topic_prefix}`, `{schema}`, `{redis_prefix}` and `{group_prefix}`.
"""


def render() -> str:
    """The whole page."""
    return _PAGE.format(
        table="\n".join(_table()),
        servers=", ".join(f"`{variable(server)}`" for server in SERVERS),
        state=LOCAL_STATE,
        topic_prefix=variable("topic_prefix"),
        schema=variable("schema_"),
        redis_prefix=variable("redis_prefix"),
        group_prefix=variable("group_prefix"),
    )


def _table() -> Iterable[str]:
    yield "| variable | default | meaning |"
    yield "| --- | --- | --- |"
    for name, field in Settings.model_fields.items():
        meaning = f"{field.description}{_limits(field)}"
        yield f"| `{variable(name)}` | {_default(field.default)} | {meaning} |"


def _limits(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return f" (one of {', '.join(get_args(field.annotation))})"
    least = [limit.ge for limit in field.metadata if hasattr(limit, "ge")]
    return f" (at least {least[0]:,})" if least else ""


def _default(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, int):
        return str(value)
    return f"`{value}`" if value else "empty"


if __name__ == "__main__":
    print(render(), end="")
