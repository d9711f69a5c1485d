"""`execstream doctor` against servers that are well, and against each failure it knows."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from execstream.cli.diagnosis import State, cache, database, machine
from execstream.cli.diagnosis.finding import CLOCKS_APART, Examined
from execstream.config.settings import Settings
from execstream.devstack import Addresses, Stack
from execstream.devstack.ports import HOST, free_ports
from execstream.kafka.security import Security, configure_security
from execstream.storage.access.http_tokens import TokenScope, create_token
from execstream.streams.topics import COMMANDS, EVENTS, TOPICS
from tests.names import Names, lent_names
from tests.orders import Orders
from tests.secured import STRANGER, SecuredBroker
from tests.whole.doctoring import SECRET, complaint, complaints, settings_of, with_user
from tests.whole.program import Program
from tests.worker import Installation, installation, until


@pytest.fixture
async def fresh(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics and tables to do harm to."""
    async with installation(stack, tmp_path) as own:
        yield own


@pytest.fixture
async def apart(breakable_stack: Stack) -> AsyncIterator[Names]:
    async with lent_names(breakable_stack) as own:
        yield own


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The doctor configures this process with the settings' security options."""
    yield
    configure_security(Security())


def at(servers: Addresses) -> Settings:
    return Settings().at(
        kafka_bootstrap=servers.kafka_bootstrap,
        postgres_dsn=servers.postgres_dsn,
        redis_url=servers.redis_url,
    )


async def test_nothing_is_wrong(place: Installation, tmp_path: Path) -> None:
    """With everything in place all checks are ok, and the exit code is 0."""
    assert await complaints(settings_of(place)) == []

    environment = place.settings.environment() | {"EXECSTREAM_REPLICATION_FACTOR": "1"}
    done = await Program(tmp_path, environment)("doctor", "--json")
    assert done.code == 0, done.err
    assert {line["part"] for line in done.json_lines()} == {
        *("settings", "machine", "kafka", "postgres", "redis", "consumers")
    }


@pytest.mark.slow
async def test_servers_that_are_stopped(breakable_stack: Stack, tmp_path: Path) -> None:
    """Each of them is reported, with the remedy; the exit code is 1."""
    for server in ("kafka", "postgres", "redis"):
        await breakable_stack.kill(server)
    try:
        environment = {
            "EXECSTREAM_KAFKA_BOOTSTRAP": breakable_stack.kafka_bootstrap,
            "EXECSTREAM_POSTGRES_DSN": breakable_stack.postgres_dsn,
            "EXECSTREAM_REDIS_URL": breakable_stack.redis_url,
        }
        done = await Program(tmp_path, environment)("doctor")
    finally:
        for server in ("kafka", "postgres", "redis"):
            await breakable_stack.restart(server)

    assert done.code == 1
    for remedy in ("Start Kafka", "Start Postgres", "Start Redis"):
        assert remedy in done.err


async def test_no_setting_may_be_wrong(tmp_path: Path) -> None:
    """A value that cannot be understood is named, and nothing else is looked at."""
    done = await Program(tmp_path, {"EXECSTREAM_HTTP_PORT": "many"})("doctor")
    assert done.code == 1
    assert "EXECSTREAM_HTTP_PORT" in done.err


# ---- settings, machine, clocks -------------------------------------------------------------


async def test_settings_that_do_not_go_together(place: Installation) -> None:
    """Two roles at one port are reported."""
    together = settings_of(place).model_copy(update={"apply_port": 8686})
    assert (await complaint(together, "settings")).check == "ports"


async def test_a_server_that_answers_nobody(fresh: Installation) -> None:
    """One that other machines reach and no token opens is reported, until there is a token."""
    closed = settings_of(fresh).model_copy(update={"http_host": "0.0.0.0"})  # noqa: S104
    assert (await complaint(closed, "postgres")).check == "tokens"
    await create_token(fresh.db, "first", [TokenScope.READ], "me")
    assert await complaints(closed, "postgres") == []


async def test_a_disk_that_is_full(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less room than needed is reported."""
    monkeypatch.setattr(machine, "ROOM", shutil.disk_usage("/").total + 1)
    assert (await complaint(settings_of(place), "machine")).check == "disk"


@pytest.mark.parametrize("apart", [-60, -CLOCKS_APART - 0.1, CLOCKS_APART + 0.1, 60])
def test_clocks_that_disagree(apart: float) -> None:
    """More than the limit, before or after the time between our question and the answer."""
    begun, ended = 1000.0, 1001.0
    theirs = (begun if apart < 0 else ended) + apart
    assert Examined("postgres").clock(theirs, begun, ended).state is State.FAILED


@pytest.mark.parametrize("theirs", [998.5, 1000.0, 1000.5, 1001.0, 1002.5])
def test_clocks_that_agree(theirs: float) -> None:
    """A slow answer is not counted as a difference."""
    assert Examined("postgres").clock(theirs, 1000.0, 1001.0).state is State.OK


# ---- Kafka ---------------------------------------------------------------------------------


async def test_a_broker_that_is_not_there(place: Installation) -> None:
    (port,) = free_ports(1)
    found = await complaint(settings_of(place).at(kafka_bootstrap=f"{HOST}:{port}"), "kafka")
    assert (found.check, found.state) == ("answers", State.FAILED)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("kafka_sasl_password", SECRET, "EXECSTREAM_KAFKA_SASL_PASSWORD"),
        ("kafka_sasl_mechanism", "SCRAM-SHA-256", "EXECSTREAM_KAFKA_SASL_MECHANISM"),
        ("kafka_ssl_cafile", None, "EXECSTREAM_KAFKA_SSL_CAFILE"),
        ("kafka_ssl_cafile", "/nowhere/ca.pem", "EXECSTREAM_KAFKA_SSL_CAFILE"),
        ("kafka_security_protocol", "PLAINTEXT", "EXECSTREAM_KAFKA_SECURITY_PROTOCOL"),
    ],
)
async def test_a_broker_that_lets_nobody_in(
    place: Installation, secured: SecuredBroker, name: str, value: str | None, remedy: str
) -> None:
    """The reason decides which setting is to be mended."""
    settings = settings_of(place).model_copy(update=secured.fields | {name: value})
    found = await complaint(settings, "kafka")
    assert remedy in str(found.remedy)
    assert SECRET not in found.found


async def test_a_user_without_rights(place: Installation, secured: SecuredBroker) -> None:
    """The groups and topics that must not be seen are named."""
    own = secured.fields | {"kafka_sasl_username": STRANGER}
    found = await complaints(settings_of(place).model_copy(update=own), "kafka")
    denied = [finding.found for finding in found if finding.check == "permissions"]
    assert any(f"{place.settings.group_prefix}-apply" in text for text in denied)
    assert any(place.topic(COMMANDS.name) in text for text in denied)


async def test_a_broker_that_makes_topics(place: Installation, secured: SecuredBroker) -> None:
    """It is reported, and asking has not made any."""
    settings = settings_of(place).model_copy(update=secured.fields)
    for _ in range(2):
        found = await complaints(settings, "kafka")
        assert [one.check for one in found] == ["settings", *["topics"] * len(TOPICS)]
        assert {one.found for one in found[1:]} == {
            f"{place.topic(topic.name)} is missing" for topic in TOPICS
        }


async def test_topics_that_are_not_as_they_should_be(fresh: Installation) -> None:
    """One that is missing, and a replication factor that is another."""
    topic = fresh.topic(EVENTS.name)
    admin = AIOKafkaAdminClient(bootstrap_servers=fresh.settings.kafka)
    await admin.start()
    await admin.delete_topics([topic])

    async def is_gone() -> bool:
        return topic not in await admin.list_topics()

    await until(is_gone)
    await admin.close()

    settings = settings_of(fresh)
    missing = await complaint(settings, "kafka")
    other = await complaints(settings.model_copy(update={"replication_factor": 3}), "kafka")

    assert topic in missing.found
    assert "execstream topics apply" in str(missing.remedy)
    assert any("replication is 1, not 3" in finding.found for finding in other)


# ---- Postgres ------------------------------------------------------------------------------


async def test_a_database_that_is_not_there(place: Installation) -> None:
    settings = settings_of(place)
    dsn = urlsplit(settings.postgres)._replace(path="/nowhere").geturl()
    found = await complaint(settings.at(postgres_dsn=dsn), "postgres")
    assert "createdb" in str(found.remedy)


async def test_a_wrong_password_for_postgres(stack: Addresses) -> None:
    """The password tried is not repeated."""
    dsn = with_user(stack.postgres_dsn, "execstream", SECRET)
    found = await complaint(at(stack).at(postgres_dsn=dsn), "postgres")

    assert "EXECSTREAM_POSTGRES_DSN" in str(found.remedy)
    assert SECRET not in found.found


async def test_tables_that_are_not_there(place: Installation) -> None:
    settings = settings_of(place).model_copy(update={"schema_": "nowhere"})
    found = await complaint(settings, "postgres")
    assert "execstream migrate" in str(found.remedy)


async def test_an_older_migration(fresh: Installation) -> None:
    """The missing migration is named."""
    name = await fresh.db.fetchval(
        "delete from migration where version = (select max(version) from migration) returning name"
    )
    found = await complaint(settings_of(fresh), "postgres")
    assert name in found.found
    assert "execstream migrate" in str(found.remedy)


async def test_a_newer_migration(fresh: Installation) -> None:
    """Then this program is the one to be replaced."""
    await fresh.db.execute("insert into migration (version, name) values (9999, 'later')")
    found = await complaint(settings_of(fresh), "postgres")
    assert "9999" in found.found


async def test_runs_that_are_dated_ahead(fresh: Installation) -> None:
    """They are counted, and those that are dated back beside them."""
    for seq, day in ((1, "2020-01-01"), (1, "2999-01-01"), (2, "2999-01-01")):
        await fresh.db.execute(
            f"""insert into journal (graph_exec_id, seq, run_day, at, command_id, type,
                                     source_partition, source_offset, source_index)
                values (md5('{day}')::uuid, {seq}, '{day}', now(), gen_random_uuid(), 'x',
                        0, 0, 0)"""
        )
    found = await complaint(settings_of(fresh), "postgres")
    assert found.found.endswith("records': 2; 1 are dated ahead")


async def test_runs_of_a_foreign_partitioner(fresh: Installation) -> None:
    """A run on a partition that its key does not choose is reported by doctor and by the metric."""
    [port] = free_ports(1)
    async with fresh.worker(apply_port=port), aiohttp.ClientSession() as http:
        orders = [Orders().create() for _ in range(3)]
        await fresh.put([orders[0]])
        await fresh.drained()
        assert await complaints(settings_of(fresh), "postgres") == []

        elsewhere = [(fresh.partition_of(order) + 1) % 8 for order in orders]
        await fresh.put(
            order._replace(partition=number)
            for order, number in zip(orders[1:], elsewhere[1:], strict=True)
        )
        await fresh.drained()

        found = await complaint(settings_of(fresh), "postgres")
        assert found.check == "partitioner"
        assert found.state is State.WARNING
        assert found.found.startswith(
            "2 of the newest 1,000 runs are where their keys do not belong"
        )
        assert "partitioner=murmur2_random" in str(found.remedy)

        async def is_counted() -> bool:
            async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                return "\nexecstream_foreign_partition_runs_total 2.0\n" in await answer.text()

        await until(is_counted)


async def test_a_role_without_rights(fresh: Installation, stack: Addresses) -> None:
    """It may look at the migrations only; the tables that it must not write are named."""
    role, schema = f"{fresh.settings.schema_}_r", fresh.settings.schema_
    await fresh.db.execute(
        f"create role {role} login password '{SECRET}'; "
        f"grant usage on schema {schema} to {role}; grant select on migration to {role}"
    )
    try:
        settings = settings_of(fresh).at(postgres_dsn=with_user(stack.postgres_dsn, role, SECRET))
        found = await complaint(settings, "postgres")
    finally:
        await fresh.db.execute(
            f"grant {role} to current_user; drop owned by {role}; drop role {role}"
        )
    assert found.check == "permissions"
    assert "graph_execution" in found.found


async def test_text_in_another_encoding(apart: Names, breakable_stack: Stack) -> None:
    name = apart.schema
    async with _postgres(breakable_stack) as connection:
        await connection.execute(
            f"create database {name} encoding 'SQL_ASCII' locale 'C' template template0"
        )
        dsn = urlsplit(breakable_stack.postgres_dsn)._replace(path=f"/{name}").geturl()
        found = await complaints(at(breakable_stack).at(postgres_dsn=dsn), "postgres")
        await connection.execute(f"drop database {name}")
    assert "encoding" in {finding.check for finding in found}


async def test_a_standby(breakable_stack: Stack) -> None:
    """It answers, and nothing can be written to it."""
    signal = breakable_stack.state / "postgres" / "standby.signal"
    await breakable_stack.kill("postgres")
    signal.touch()
    try:
        await breakable_stack.restart("postgres")
        found = await complaints(at(breakable_stack), "postgres")
    finally:
        await breakable_stack.kill("postgres")
        signal.unlink()
        await breakable_stack.restart("postgres")
    assert "writing" in {finding.check for finding in found}


async def test_servers_that_are_old(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning: they may do."""
    monkeypatch.setattr(database, "OLDEST", 99)
    monkeypatch.setattr(cache, "OLDEST", (99, 0))
    found = await complaints(settings_of(place))
    assert [(one.part, one.check, one.state) for one in found] == [
        ("postgres", "version", State.WARNING),
        ("redis", "version", State.WARNING),
    ]


@asynccontextmanager
async def _postgres(servers: Addresses) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(servers.postgres_dsn)
    try:
        yield connection
    finally:
        await connection.close()


# ---- Redis ---------------------------------------------------------------------------------


async def test_a_wrong_password_for_redis(place: Installation) -> None:
    settings = settings_of(place)
    url = with_user(settings.redis, "nobody", SECRET)
    found = await complaint(settings.at(redis_url=url), "redis")
    assert "EXECSTREAM_REDIS_URL" in str(found.remedy)
    assert SECRET not in found.found


async def test_a_redis_user_without_rights(place: Installation) -> None:
    """It may ping, and not publish."""
    settings, user = settings_of(place), place.settings.schema_
    async with Redis.from_url(settings.redis) as redis:
        await redis.acl_setuser(user, enabled=True, passwords=[f"+{SECRET}"], commands=["+ping"])
        try:
            url = with_user(settings.redis, user, SECRET)
            found = await complaint(settings.at(redis_url=url), "redis")
        finally:
            await redis.acl_deluser(user)
    assert found.check == "permissions"


async def test_a_redis_that_throws_keys_away(breakable_stack: Stack) -> None:
    async with Redis.from_url(breakable_stack.redis_url) as redis:
        await redis.config_set("maxmemory", "1gb")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = await complaint(at(breakable_stack), "redis")
        finally:
            await redis.config_set("maxmemory-policy", "noeviction")
            await redis.config_set("maxmemory", "0")
    assert found.check == "memory"
