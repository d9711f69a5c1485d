"""Postgres with `verify-full`, Redis over TLS with an ACL, Kafka with certificates and rights of
each client; and the sentence about a wrong authority, host or password.
"""

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest
from redis.asyncio import Redis

from docs.generate import ACLS, SCRIPTS
from execstream.cli.diagnosis.cache import acl_command
from execstream.config.settings import Settings, variable
from execstream.devstack import Addresses
from execstream.devstack.ports import HOST, free_ports
from execstream.kafka.acls import Client
from execstream.storage.schema.migrate import migrate
from execstream.streams.topics import BLOCK_STATS, CATALOGUE, COMMANDS, DEAD_LETTERS, EVENTS, TOPICS
from tests.certificates import Authority
from tests.names import Names
from tests.secured import STRANGER, USER, SecuredBroker, by_variable
from tests.tls_front import tls_front
from tests.whole.doctoring import SECRET, complaint, with_user
from tests.whole.program import PATIENCE, Program
from tests.worker import until

_RESOURCES = {"--topic": 2, "--group": 3}
_OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8}
_LITERAL, _PREFIXED, _ALLOW = 3, 4, 3


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


@pytest.mark.slow
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


@pytest.fixture
async def allowed(
    secured: SecuredBroker, names: Names, tmp_path: Path
) -> AsyncIterator[Mapping[str, str]]:
    """Topics, and the rights of the scripts, run with a tool that notes what the broker is then
    asked for; variables of the installation.
    """
    own = {"TOPIC_PREFIX": names.topic_prefix, "GROUP_PREFIX": names.group_prefix}
    prefixes = {f"EXECSTREAM_{name}": value for name, value in own.items()}
    made = await Program(tmp_path, secured.variables | prefixes)("topics", "apply")
    assert made.code == 0, made.err
    noted, tool = tmp_path / "noted", tmp_path / "kafka-acls.sh"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {noted}\n')
    tool.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    given = {"PATH": path, "BOOTSTRAP": secured.bootstrap, "ADMIN": "admin.properties", **own}
    for script in SCRIPTS:
        process = await asyncio.create_subprocess_exec("sh", str(ACLS / script), env=given)
        assert await process.wait() == 0
    admin = AIOKafkaAdminClient(**_options(secured, USER))
    await admin.start()
    try:
        for line in noted.read_text().splitlines():
            for request in _requests(line.split()):
                answer = await admin._send_request(request)
                assert answer.creation_responses[0][0] == 0, (line, answer)
        yield prefixes
    finally:
        await admin.close()


def _options(secured: SecuredBroker, user: str) -> dict[str, Any]:
    security = Settings().model_copy(update=secured.fields_of(user)).kafka_security
    return {
        "bootstrap_servers": secured.bootstrap,
        "security_protocol": security.protocol,
        "ssl_context": security.context(),
        "sasl_mechanism": security.mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": security.password,
    }


def _requests(words: list[str]) -> Iterator[CreateAclsRequest]:
    """The requests of one call of `kafka-acls.sh`."""
    options = list(itertools.pairwise(words))
    [(kind, name)] = [(kind, name) for kind, name in options if kind in _RESOURCES]
    [principal] = [value for option, value in options if option == "--allow-principal"]
    pattern = _PREFIXED if "prefixed" in words else _LITERAL
    for option, operation in options:
        if option == "--operation":
            yield CreateAclsRequest(
                *(_RESOURCES[kind], name, pattern, principal, "*"),
                *(_OPERATIONS[operation], _ALLOW),
            )


@pytest.mark.slow
async def test_each_client_has_the_rights_of_its_script(
    secured: SecuredBroker,
    stack: Addresses,
    names: Names,
    allowed: Mapping[str, str],
    tmp_path: Path,
) -> None:
    """Workers, server and a producer do their work, each as its own user; an analyst reads events.
    What the script of a client leaves out is refused by the broker.
    """
    stores = {
        "EXECSTREAM_POSTGRES_DSN": stack.postgres_dsn,
        "EXECSTREAM_REDIS_URL": stack.redis_url,
        "EXECSTREAM_SCHEMA": names.schema,
        "EXECSTREAM_REDIS_PREFIX": names.redis_prefix,
        **{f"EXECSTREAM_{role}_PORT": "0" for role in ("APPLY", "TALLY", "BRIDGE")},
    }

    def program(client: Client) -> Program:
        own = by_variable(secured.fields_of(client))
        return Program(tmp_path, {**own, **stores, **allowed})

    [port] = free_ports(1)
    await migrate(stack.postgres_dsn, names.schema)
    async with AsyncExitStack() as running:
        for role in ("apply", "tally", "bridge"):
            await running.enter_async_context(
                program(Client.WORKER).running("worker", "--role", role)
            )
        await running.enter_async_context(
            program(Client.SERVER).running("serve", "--port", str(port))
        )
        sent = await program(Client.PRODUCER)("simulate", "--runs", "1", "--seed", "3")
        assert sent.code == 0, sent.err
        http = await running.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{HOST}:{port}")
        )

        async def is_applied() -> bool:
            with suppress(httpx.TransportError):
                answer = await http.get("/v1/executions")
                return answer.is_success and bool(answer.json()["data"])
            return False

        await until(is_applied)
        topics = (await http.get("/v1/topics")).json()["data"]
        assert len(topics) == len(TOPICS)
        assert (await http.get("/v1/workers")).is_success
        analyst = AIOKafkaConsumer(
            names.topic_prefix + EVENTS.name,
            group_id="analyst-1",
            auto_offset_reset="earliest",
            **_options(secured, Client.ANALYST),
        )
        await analyst.start()
        assert (await analyst.getone()).value
        await analyst.commit()
        await analyst.stop()

    places = {topic: names.topic_prefix + topic.name for topic in TOPICS}
    for client in (*Client, STRANGER):
        may_write = {
            Client.WORKER: {COMMANDS, EVENTS, BLOCK_STATS, DEAD_LETTERS},
            Client.SERVER: {COMMANDS},
            Client.PRODUCER: {COMMANDS, CATALOGUE},
        }
        refused = {one for one in TOPICS if await _is_refused(secured, client, places[one])}
        assert refused == set(TOPICS) - may_write.get(client, set()), client
    foreign = AIOKafkaConsumer(
        places[EVENTS], group_id=f"{names.group_prefix}-apply", **_options(secured, Client.ANALYST)
    )
    try:
        with pytest.raises(GroupAuthorizationFailedError):
            await _first(foreign)
    finally:
        await foreign.stop()


async def _first(consumer: AIOKafkaConsumer) -> None:
    async with asyncio.timeout(PATIENCE):
        await consumer.start()
        await consumer.getone()


async def _is_refused(secured: SecuredBroker, user: str, topic: str) -> bool:
    producer = AIOKafkaProducer(**_options(secured, user))
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"{}", b"key", partition=0)
    except TopicAuthorizationFailedError:
        return True
    finally:
        await producer.stop()
    return False
