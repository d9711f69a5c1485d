"""Addresses that no client library could read are refused, without a part of a password."""

import ast
from collections.abc import Iterator

import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args
from hypothesis import example, given
from hypothesis import strategies as some
from redis.asyncio import Redis

from execstream.config.address_syntax import is_address
from execstream.config.settings import Settings, read_settings
from execstream.storage.connections import Session
from execstream.storage.redis.positions import open_redis
from execstream.streams.errors import NotConfigured
from tests.rooms import MODULES, ROOT

CANARY = "canary-1"
UNREADABLE = [
    "{}://u:canary-1/y@h",
    "{}://u:canary-1?y@h",
    "{}://u:canary-1#y@h",
    "{}://u:12/canary-1@h",
    "{}://u:[canary-1]@h",
    "{}://u:\u2100canary-1@h",
    "{}://u:canary-1 @h",
    "{}://u:p@h:canary-1",
    "{}://u:p@h:123456/canary-1",
    "{}://u:p@h?canary-1",
]
SCHEMES = {"EXECSTREAM_POSTGRES_DSN": "postgresql", "EXECSTREAM_REDIS_URL": "redis"}
OPENERS = {"asyncpg.connect", "asyncpg.create_pool", "Redis.from_url"}
# Modules that open connections by the address that they are given; they check it.
OPENING = {"storage/connections.py", "storage/schema/migrate.py", "storage/redis/positions.py"}


@pytest.mark.parametrize("address", UNREADABLE)
@pytest.mark.parametrize("variable", SCHEMES)
def test_settings(monkeypatch: pytest.MonkeyPatch, variable: str, address: str) -> None:
    """A sentence names the variable and the form, and has no part of the password."""
    monkeypatch.setenv(variable, address.format(SCHEMES[variable]))
    with pytest.raises(NotConfigured, match=f"^{variable} cannot be read: it must be like") as told:
        read_settings()
    assert CANARY not in str(told.value)
    assert "%2F" not in str(told.value)


@pytest.mark.parametrize("variable", ["EXECSTREAM_ALERT_WEBHOOK_URL", "EXECSTREAM_TALLY_URLS"])
def test_other_addresses(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Addresses of HTTP are checked as well, each of several."""
    monkeypatch.setenv(variable, "http://a:1,http://u:canary-1/y@h")
    with pytest.raises(NotConfigured, match=f"^{variable} cannot be read") as told:
        read_settings()
    assert CANARY not in str(told.value)


@pytest.mark.parametrize("address", UNREADABLE)
def test_given_addresses(address: str) -> None:
    """So are those that a program gives, instead of the environment."""
    for refused in (
        lambda: Settings().at(postgres_dsn=address.format("postgresql")),
        lambda: Session(address.format("postgresql"), "execstream"),
        lambda: open_redis(address.format("redis")),
    ):
        with pytest.raises(NotConfigured) as told:
            refused()
        assert CANARY not in str(told.value)


@given(some.text(some.sampled_from("ab:/?#[]@%&=., 1\u2100"), max_size=12), some.booleans())
@example("x/y", False)
@example(",?1=", False)
@example(",1?1=", False)
def test_no_error_of_a_library_repeats_a_password(password: str, is_short: bool) -> None:
    """Whatever stands for a password: an address that passes is read by the libraries."""
    rest = "h" if is_short else "h:5432/1"
    for scheme, read in (("postgresql", _read_by_asyncpg), ("redis", Redis.from_url)):
        if is_address(address := f"{scheme}://u:{password}@{rest}"):
            read(address)


def _read_by_asyncpg(dsn: str) -> None:
    names = ("host", "port", "user", "password", "passfile", "database", "ssl", "service")
    _parse_connect_dsn_and_args(
        dsn=dsn,
        **dict.fromkeys(names),
        servicefile=None,
        direct_tls=None,
        server_settings=None,
        target_session_attrs=None,
        krbsrvname=None,
        gsslib=None,
    )


def test_connections_are_opened_where_addresses_are_checked() -> None:
    """Elsewhere only addresses of the settings, which were checked, are given to a library."""
    assert set(_opened_elsewhere()) == {
        # Arguments that their callers take from the settings.
        ("agents/alerts/delivery.py", "url"),
        ("client/replies.py", "redis_url"),
    }


def _opened_elsewhere() -> Iterator[tuple[str, str]]:
    for module in MODULES:
        place = str(module.relative_to(ROOT))
        if place in OPENING or place.startswith(("devstack", "tests", "bench")):
            continue
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in OPENERS:
                address = ast.unparse(node.args[0])
                if not address.startswith("settings."):
                    yield place, address
