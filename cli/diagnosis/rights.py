"""Rights in Postgres that a user lacks for its work."""

import re

import asyncpg

from execstream.storage.schema.roles import ROUTINES, Role, granted

_PRIVILEGE = re.compile(r"select|insert|update|delete")

# Privileges on one column count as such on the table.
_LACKS = """
select wanted.privilege || ' on ' || wanted.relation
  from unnest($1::text[], $2::text[]) with ordinality as wanted (relation, privilege, place)
 where to_regclass(wanted.relation) is not null
   and not has_table_privilege(to_regclass(wanted.relation), wanted.privilege)
   and not (wanted.privilege in ('select', 'insert', 'update')
            and has_any_column_privilege(to_regclass(wanted.relation), wanted.privilege))
union all
select 'execute on ' || routine
  from unnest($3::text[]) routine
 where not has_function_privilege(to_regprocedure(routine), 'execute')
"""


async def lacking_rights(connection: asyncpg.Connection, role: Role) -> list[str]:
    """The rights of `role` that the user of a connection lacks, each like `update on alert`."""
    wanted = [
        (relation, privilege)
        for relation, privileges in granted(role)
        for privilege in _PRIVILEGE.findall(privileges)
    ]
    routines = ROUTINES if role is Role.WORKER else ()
    rows = await connection.fetch(_LACKS, *map(list, zip(*wanted, strict=True)), routines)
    return [row[0] for row in rows]
