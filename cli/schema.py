"""`execstream schema`: the JSON Schemas of everything that is sent and published."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from execstream.cli.common import Json, print_json, table
from execstream.cli.terminal import out
from execstream.storage.alerts.alert_schema import alert_schema, run_end_schema
from execstream.storage.redis.message_schemas import published_schema, update_schema
from execstream.streams import json_schemas
from execstream.streams.errors import Fatal
from execstream.streams.json_schemas import Described, Schema


class NoSuchSchema(Fatal):
    """A name that no schema has."""


class Contract(NamedTuple):
    """A kind of message: its schema, and where it is sent."""

    describe: Callable[[], Described]
    meaning: str

    def document(self, name: str) -> Schema:
        """Return its JSON Schema."""
        return self.describe().document(name, self.meaning)


CONTRACTS = {
    "command": Contract(json_schemas.command_schema, "Values of execution.commands.v1"),
    "event": Contract(json_schemas.event_schema, "Values of execution.events.v1"),
    "catalogue": Contract(json_schemas.catalogue_schema, "Values of execution.catalogue.v1"),
    "block-stats": Contract(json_schemas.block_stats_schema, "Values of execution.block-stats.v1"),
    "update": Contract(update_schema, "Messages of the Redis channels execution_event/…"),
    "reply": Contract(
        json_schemas.reply_schema, "Messages of the Redis channels execution_reply/…"
    ),
    "published": Contract(published_schema, "Messages of the Redis channel execution_published"),
    "alert": Contract(
        alert_schema, "Messages of the Redis channel execution_alert, and bodies of the webhook"
    ),
    "run-end": Contract(run_end_schema, "Bodies of the webhook about ends of runs"),
}


def schema(
    name: Annotated[str | None, Parameter(help="One of the list; without it the list.")] = None,
    /,
    *,
    json: Json = False,
) -> None:
    """Print a JSON Schema (2020-12), or the list of those that there are.

    --json: a schema on one line; of the list {"name", "meaning"}, one per line.
    """
    if name is None:
        _print_list(json=json)
        return
    contract = CONTRACTS.get(name)
    if contract is None:
        raise NoSuchSchema(f"There is no schema {name!r}, but {', '.join(CONTRACTS)}.")
    print_json(contract.document(name), indented=not json)


def _print_list(*, json: bool) -> None:
    rows = table("name", "meaning", free=("meaning",))
    for name, contract in CONTRACTS.items():
        if json:
            print_json({"name": name, "meaning": contract.meaning})
        rows.add_row(name, contract.meaning)
    if not json:
        out.print(rows)
