"""`execstream migrate`: the schema in Postgres, brought to this version."""

from typing import Annotated

from cyclopts import Parameter

from execstream.cli.acts import record
from execstream.cli.common import Json, print_json, start
from execstream.cli.terminal import out
from execstream.config.settings import STRICT, read_settings
from execstream.storage.access.audit_log import Act
from execstream.storage.schema import migrate as migrations


async def migrate(
    *,
    roles: Annotated[bool, Parameter(negative="")] = False,
    sql: Annotated[bool, Parameter(negative="")] = False,
    expand: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Apply the migrations that are missing; may be repeated, also at the same time.

    Parameters
    ----------
    roles
        Make the roles of workers, server, readers and analysts, too, which takes a user that may
        make roles; roles that are there get their rights in any case.
    expand
        Apply only migrations that workers of the release before survive: before a rolling upgrade,
        which ends with this command without the option (docs/upgrading.md).
    sql
        Print all migrations as one script instead of applying them; with `--roles` the roles and
        their rights.
    """
    if sql:
        script = migrations.roles_script if roles else migrations.script
        print(script(read_settings().schema_))
        return
    settings = start()
    applied = await migrations.migrate(
        settings.postgres,
        settings.schema_,
        with_roles=roles,
        with_row_security=settings.tenancy == STRICT,
        expands_only=expand,
    )
    done = [*applied, *(["the roles"] if roles else [])]
    await record(settings, *(Act("migrate", str(one), "applied") for one in done))
    if json:
        print_json({"applied": applied})
    elif applied:
        for migration in applied:
            out.print(f"{migration}  applied")
    else:
        out.print("The schema is up to date." if not expand else "There is nothing to expand.")
