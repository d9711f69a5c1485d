"""`execstream tokens`: made once, shown once, revoked once."""

import pytest

from execstream.storage.access.http_tokens import hash_secret
from tests.whole.program import Program
from tests.worker import Installation


async def test_life_of_a_token(place: Installation, program: Program) -> None:
    """The secret is printed by `create` alone; the table has its hash, and the list its fields."""
    asked = ("create", "grafana", "--scope", "read", "--scope", "operate", "--expires", "30d")
    made = await program("tokens", *asked, "--json")
    secret = made.json()["secret"]
    again = await program("tokens", "create", "grafana")
    own = await program("tokens", "create", "of-ada", "--user", "ada", "--scope", "write")
    shown = await program("tokens", "list", "--json")
    read = await program("tokens", "list")
    revoked = await program("tokens", "revoke", "grafana", "--json")
    twice = await program("tokens", "revoke", "grafana")

    assert (made.code, made.json()["scopes"], made.err) == (0, ["operate", "read"], "")
    assert (again.code, "already" in again.err, again.out) == (1, True, "")
    assert (own.code, own.out.startswith("exs_")) == (0, True)
    items = {one["name"]: one for one in shown.json_lines()}
    assert (items["of-ada"]["user_id"], items["of-ada"]["expires_at"]) == ("ada", None)
    assert items["grafana"]["expires_at"] is not None
    assert (revoked.code, revoked.json()["revoked_at"] is not None) == (0, True)
    assert (twice.code, "no token grafana" in twice.err) == (1, True)
    for told in (again, shown, read, revoked, twice):
        assert secret not in told.out + told.err
    hashes = {row["hash"] for row in await place.db.fetch("select hash from token")}
    assert hashes == {hash_secret(secret), hash_secret(own.out.strip())}


@pytest.mark.parametrize(
    "options",
    [
        ("of ada",),
        ("ok", "--user", "a b"),
        ("ok", "--user", "ada", "--scope", "admin"),
        ("ok", "--expires", "soon"),
        ("ok", "--expires", "0d"),
    ],
)
async def test_no_such_token_is_made(
    place: Installation, program: Program, options: tuple[str, ...]
) -> None:
    """A sentence, and no row."""
    before = await place.db.fetchval("select count(*) from token")
    told = await program("tokens", "create", *options)
    assert (told.code, told.out, len(told.err.splitlines())) == (1, "", 1)
    assert await place.db.fetchval("select count(*) from token") == before
