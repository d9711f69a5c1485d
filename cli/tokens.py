"""`execstream tokens`: the tokens of the HTTP server."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from cyclopts import App, Parameter

from execstream.cli.acts import record
from execstream.cli.common import Json, actor, opened, print_json, span, start, table
from execstream.cli.terminal import Table, err, out
from execstream.cli.words import moment
from execstream.storage.access.audit_log import Act
from execstream.storage.access.http_tokens import (
    StoredToken,
    TokenRefused,
    TokenScope,
    create_token,
    list_tokens,
    revoke_token,
)

tokens = App(name="tokens", help="Tokens of the HTTP server: create, list, revoke.")

Name = Annotated[str, Parameter(name="NAME")]


@tokens.command
async def create(
    name: Name,
    /,
    *,
    scope: Sequence[TokenScope] = (TokenScope.READ,),
    user: str | None = None,
    expires: str | None = None,
    json: Json = False,
) -> None:
    """Make a token and print its secret, which is stored nowhere and cannot be shown again.

    Servers accept it within 5 seconds. From the first token on, they ask for one.

    Parameters
    ----------
    name
        Its name, by which the audit and `tokens revoke` know it.
    scope
        What it may do; may be repeated.
    user
        The only user whose runs it shows and changes; all users when not given.
    expires
        Its lifetime, like 12h or 30d; without an end when not given.
    """
    settings = start()
    lifetime = _lifetime(expires)
    async with opened(settings) as db:
        secret, token = await create_token(
            *(db, name, scope, actor(settings)), user_id=user, lifetime=lifetime
        )
    await record(settings, Act("token.create", name, "done"))
    if json:
        print_json({"secret": secret, **token.model_dump()})
    else:
        out.print(secret, soft_wrap=True)
        err.print(
            f"The token {name} has the scopes {', '.join(token.scopes)}. Keep it: nothing can show "
            "it again.",
            soft_wrap=True,
        )


@tokens.command(name="list")
async def list_(*, json: Json = False) -> None:
    """List tokens, revoked and expired ones too, the newest first; never their secrets."""
    settings = start()
    async with opened(settings) as db:
        found = await list_tokens(db)
    if json:
        for token in found:
            print_json(token)
    else:
        out.print(_table(found))


@tokens.command
async def revoke(name: Name, /, *, json: Json = False) -> None:
    """Revoke a token. Servers refuse it within 5 seconds, and end its requests."""
    settings = start()
    async with opened(settings) as db:
        token = await revoke_token(db, name)
    if token is None:
        raise TokenRefused(
            f"There is no token {name} to revoke: `execstream tokens list` shows those there are."
        )
    await record(settings, Act("token.revoke", name, "done"))
    if json:
        print_json(token)
    else:
        out.print(f"The token {name} is revoked.")


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    lifetime = span(text)
    if not lifetime:
        raise TokenRefused(f"{text!r} is no lifetime like 12h or 30d.")
    return lifetime


def _table(found: Sequence[StoredToken]) -> Table:
    rows = table("name", "scopes", "user", "created", "by", "expires", "last used", "revoked")
    for token in found:
        times = map(moment, (token.expires_at, token.last_used_at, token.revoked_at))
        created = (moment(token.created_at), token.created_by)
        rows.add_row(token.name, " ".join(token.scopes), token.user_id or "all", *created, *times)
    return rows
