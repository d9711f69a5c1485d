"""A broker that lets in over TLS only: with a password (SCRAM), or with a certificate at its other
port; it lets one user do anything, and others what they are allowed.

Certificates are made by OpenSSL's program, so tests that need this are skipped without it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from execstream.config.settings import variable
from execstream.devstack import kafka
from execstream.devstack.jars import ensure_jars
from execstream.devstack.java import find_java
from execstream.devstack.ports import HOST, free_ports
from execstream.kafka.acls import Client
from execstream.kafka.security import Security
from tests.certificates import Authority

USER, PASSWORD = "ada", "of-the-tests"
STRANGER = "bob"  # has the same password, and no rights
MECHANISM = "SCRAM-SHA-512"
_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required"
_JAAS = f'{_LOGIN} username="{USER}" password="{PASSWORD}";'
_NAMES = "RULE:^CN=(.*?)$/$1/,DEFAULT"  # of a certificate, as the name of a user
# The listener keeps its name, PLAINTEXT, and is anything but.
_SETTINGS = {
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL,MTLS:SSL",
    "inter.broker.listener.name": "PLAINTEXT",
    "sasl.enabled.mechanisms": MECHANISM,
    "sasl.mechanism.inter.broker.protocol": MECHANISM,
    "listener.name.plaintext.scram-sha-512.sasl.jaas.config": _JAAS,
    "listener.name.mtls.ssl.client.auth": "required",
    "listener.name.mtls.ssl.principal.mapping.rules": _NAMES,
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:{USER};User:ANONYMOUS",  # the latter is the controller
    "auto.create.topics.enable": "true",  # as it is by default
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
}
_FORMATTING = tuple(
    word
    for user in (USER, STRANGER, *Client)
    for word in ("--add-scram", f"{MECHANISM}=[name={user},password={PASSWORD}]")
)


@dataclass(frozen=True)
class SecuredBroker:
    """`bootstrap`, the port for certificates, and who signs them."""

    bootstrap: str
    mtls_bootstrap: str
    authority: Authority

    @property
    def ca_file(self) -> Path:
        return self.authority.file

    @property
    def fields(self) -> dict[str, str]:
        """The settings that get in, by field."""
        return self.fields_of(USER)

    def fields_of(self, user: str) -> dict[str, str]:
        """The settings of a user."""
        return {
            "kafka_bootstrap": self.bootstrap,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_ssl_cafile": str(self.ca_file),
            "kafka_sasl_mechanism": MECHANISM,
            "kafka_sasl_username": user,
            "kafka_sasl_password": PASSWORD,
        }

    async def certified_fields(self, user: str) -> dict[str, str]:
        """The settings of a user with a certificate in place of a password."""
        own = await self.authority.issue(user)
        return {
            "kafka_bootstrap": self.mtls_bootstrap,
            "kafka_security_protocol": "SSL",
            "kafka_ssl_cafile": str(self.ca_file),
            "kafka_ssl_certfile": str(own.certificate),
            "kafka_ssl_keyfile": str(own.key),
        }

    @property
    def variables(self) -> dict[str, str]:
        """The same, by variable."""
        return by_variable(self.fields)


def by_variable(fields: dict[str, str]) -> dict[str, str]:
    """Settings by variable in place of the field."""
    return {variable(name): value for name, value in fields.items()}


@asynccontextmanager
async def secured_broker(state: Path) -> AsyncIterator[SecuredBroker]:
    """One that keeps everything in `state`."""
    authority = Authority(state)
    await authority.begin()
    own = await authority.issue("broker")
    port, mtls_port, controller_port = free_ports(3)
    stores = {
        "ssl.keystore.location": str(own.both),
        "ssl.truststore.location": str(authority.file),
    }
    runtime = kafka.Runtime(find_java(), await asyncio.to_thread(ensure_jars, print, Event()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "SETTINGS", kafka.SETTINGS | _SETTINGS | stores)
        patch.setattr(kafka, "FORMATTING", _FORMATTING)
        server = await kafka.prepare(state, state, runtime, (port, controller_port))
    # The last line of a name counts.
    with (state / "kafka" / kafka.PROPERTIES).open("a") as settings:
        clients = f"PLAINTEXT://{HOST}:{port},MTLS://{HOST}:{mtls_port}"
        settings.write(f"listeners={clients},CONTROLLER://{HOST}:{controller_port}\n")
        settings.write(f"advertised.listeners={clients}\n")
    security = Security("SASL_SSL", MECHANISM, USER, PASSWORD, str(authority.file))
    bootstrap = f"{HOST}:{port}"

    async def lets_in() -> bool:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=bootstrap,
            security_protocol=security.protocol,
            ssl_context=security.context(),
            sasl_mechanism=security.mechanism,
            sasl_plain_username=security.username,
            sasl_plain_password=security.password,
        )
        try:
            await admin.start()
        except KafkaError:
            return False
        finally:
            await admin.close()
        return True

    server.is_ready = lets_in
    server.spawn()
    try:
        await server.wait_ready()
        yield SecuredBroker(bootstrap, f"{HOST}:{mtls_port}", authority)
    finally:
        await server.stop()
