"""`execstream audit`: the acts of operators and tokens."""

from execstream.cli.common import Json, Limit, opened, print_json, print_more, start, table
from execstream.cli.terminal import out
from execstream.cli.words import moment
from execstream.storage.access.audit_log import list_audit

PAGE = 1_000


async def audit(
    *,
    actor: str | None = None,
    act: str | None = None,
    subject: str | None = None,
    limit: Limit = 25,
    json: Json = False,
) -> None:
    """List acts, newest first. With --json and a large --limit it is an export.

    Parameters
    ----------
    actor
        Only those of this operator or token.
    act
        Only those of this kind, such as alert.silence.
    subject
        Only those about this run or other thing.
    """
    settings = start()
    rows = table("time", "actor", "user", "from", "act", "subject", "outcome")
    cursor, left = None, limit
    async with opened(settings) as db:
        while left:
            found, cursor = await list_audit(
                *(db,), actor=actor, act=act, subject=subject, cursor=cursor, limit=min(left, PAGE)
            )
            for one in found:
                if json:
                    print_json(one)
                else:
                    who = (one.actor, one.user_id or "", one.origin)
                    rows.add_row(moment(one.at), *who, one.act, one.subject, one.outcome)
            left -= len(found)
            if cursor is None:
                break
    if not json:
        out.print(rows)
    if cursor is not None:
        print_more()
