"""`execstream migrate`: the schema in Postgres, brought to this version."""

from typing import Annotated

from cyclopts import Parameter

from execstream.cli.common import Json, print_json, start
from execstream.cli.terminal import out
from execstream.config.settings import read_settings
from execstream.storage.schema import migrate as migrations


async def migrate(
    *,
    sql: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Apply the migrations that are missing; may be repeated, also at the same time.

    Parameters
    ----------
    sql
        Print all migrations as one script instead of applying them.
    """
    if sql:
        print(migrations.script(read_settings().schema_))
        return
    settings = start()
    applied = await migrations.migrate(settings.postgres, settings.schema_)
    if json:
        print_json({"applied": applied})
    elif applied:
        for migration in applied:
            out.print(f"{migration}  applied")
    else:
        out.print("The schema is up to date.")
