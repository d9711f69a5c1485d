"""Postgres with `verify-full`, Redis over TLS with an ACL, Kafka with certificates; and
the sentence about a wrong authority, host or password.
"""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from execstream.cli.diagnosis.cache import acl_command
from execstream.config.settings import Settings, variable
from execstream.devstack import Addresses
from tests.certificates import Authority
from tests.names import Names
from tests.secured import USER, SecuredBroker, by_variable
from tests.tls_front import tls_front
from tests.whole.doctoring import SECRET, complaint, with_user
from tests.whole.program import Program


@dataclass(frozen=True)
class SecuredStores:
    """Postgres and Redis over TLS: their addresses, and those of servers with another name."""

    authority: Authority
    postgres: str
    redis: str
    misnamed_postgres: str
    misnamed_redis: str


@pytest.fixture
async def stores(stack: Addresses, names: Names, tmp_path: Path) -> AsyncIterator[SecuredStores]:
    """The servers of the tests behind TLS; Redis for a user with the rights that doctor knows."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    authority = Authority(tmp_path)
    await authority.begin()
    right = (await authority.issue("right")).server_context()
    other = (await authority.issue("other", host="127.0.0.9")).server_context()
    user = with_user(stack.redis_url, names.schema, SECRET)
    settings = Settings(redis_prefix=names.redis_prefix).at(redis_url=user)
    async with (
        Redis.from_url(stack.redis_url) as redis,
        tls_front(stack.postgres_dsn, right) as postgres,
        tls_front(stack.postgres_dsn, other) as misnamed_postgres,
        tls_front(stack.redis_url, right) as redis_at,
        tls_front(stack.redis_url, other) as misnamed_redis,
    ):
        await redis.execute_command(*f"{acl_command(settings)} on >{SECRET}".split())  # type: ignore[no-untyped-call]
        try:
            yield SecuredStores(
                authority,
                _postgres(stack.postgres_dsn, postgres, authority),
                _redis(names.schema, redis_at, authority),
                _postgres(stack.postgres_dsn, misnamed_postgres, authority),
                _redis(names.schema, misnamed_redis, authority),
            )
        finally:
            await redis.acl_deluser(names.schema)


def _postgres(dsn: str, place: str, authority: Authority) -> str:
    user = dsn.split("://")[1].rpartition("@")[0]
    options = f"sslmode=verify-full&sslrootcert={authority.file}"
    return f"postgresql://{user}@{place}/{dsn.rpartition('/')[2]}?{options}"


def _redis(user: str, place: str, authority: Authority) -> str:
    return f"rediss://{user}:{SECRET}@{place}/0?ssl_ca_certs={authority.file}"


@pytest.fixture
def variables(secured: SecuredBroker, stores: SecuredStores, names: Names) -> dict[str, str]:
    """Settings of everything over TLS."""
    return secured.variables | {
        "EXECSTREAM_POSTGRES_DSN": stores.postgres,
        "EXECSTREAM_REDIS_URL": stores.redis,
        "EXECSTREAM_SCHEMA": names.schema,
        "EXECSTREAM_REDIS_PREFIX": names.redis_prefix,
        "EXECSTREAM_TOPIC_PREFIX": names.topic_prefix,
        "EXECSTREAM_GROUP_PREFIX": names.group_prefix,
    }


async def test_everything_over_tls(tmp_path: Path, variables: dict[str, str]) -> None:
    """The whole pipeline, with Redis' user of exactly the rights that doctor knows."""
    done = await Program(tmp_path, variables)("demo", "--runs", "2", "--exit", "--json")
    assert done.code == 0, done.err
    receipt = done.json()
    assert (receipt["lost"], receipt["redis_messages"] > 0) == (0, True)


@pytest.mark.parametrize("wrong", ["authority", "host", "password", "no TLS"])
@pytest.mark.parametrize("server", ["postgres", "redis"])
async def test_a_store_that_is_not_trusted(
    tmp_path: Path, stack: Addresses, stores: SecuredStores, server: str, wrong: str
) -> None:
    """Doctor and commands say in a sentence why, without a traceback and without the password."""
    address = getattr(stores, server)
    if wrong == "authority":
        stranger = Authority(tmp_path / "stranger")
        stranger.folder.mkdir()
        await stranger.begin()
        address = address.replace(str(stores.authority.file), str(stranger.file))
    elif wrong == "host":
        address = getattr(stores, f"misnamed_{server}")
    elif wrong == "password":
        parts = address.split("://")
        user = parts[1].partition(":")[0]
        address = f"{parts[0]}://{user}:not-{SECRET}@{parts[1].partition('@')[2]}"
    else:
        address = address.partition("?")[0].replace("rediss", "redis")
        address += "?sslmode=disable" if server == "postgres" else ""
    field = "postgres_dsn" if server == "postgres" else "redis_url"
    whole = Settings().at(
        kafka_bootstrap=stack.kafka_bootstrap,
        postgres_dsn=stack.postgres_dsn,
        redis_url=stack.redis_url,
    )
    found = await complaint(whole.at(**{field: address}), server)
    assert variable(field) in str(found.remedy)
    program = Program(tmp_path, {variable(field): address})
    done = await program(*(("list",) if server == "postgres" else ("doctor",)))
    assert done.code == 1
    for text in (found.found, done.out + done.err):
        assert SECRET not in text
        assert "Traceback" not in text
        assert text.strip()
    told = {"authority": "certificate", "host": "127.0.0.1", "password": "password"}
    assert told.get(wrong, "").lower() in found.found.lower()


# ---- Kafka ---------------------------------------------------------------------------------


async def test_certificates_in_place_of_passwords(
    tmp_path: Path, secured: SecuredBroker, names: Names
) -> None:
    """The name in it is the user; without one nobody gets in, and the reason is a sentence."""
    prefix = {"EXECSTREAM_TOPIC_PREFIX": names.topic_prefix}
    certified = by_variable(await secured.certified_fields(USER)) | prefix
    done = await Program(tmp_path, certified)("topics", "apply")
    assert done.code == 0, done.err
    nobody = {name: value for name, value in certified.items() if "KEY" not in name}
    del nobody["EXECSTREAM_KAFKA_SSL_CERTFILE"]
    refused = await Program(tmp_path, nobody)("topics", "check")
    assert refused.code == 1
    assert "Traceback" not in refused.err
    assert "doctor" in refused.err
