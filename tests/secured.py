"""A broker that lets in over TLS only, with a password, and lets one of two users do anything.

Its certificate is made by OpenSSL's program, so tests that need this are skipped without it.
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
from execstream.kafka.security import Security

USER, PASSWORD = "ada", "of-the-tests"
STRANGER = "bob"  # has the same password, and no rights
_JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    f'username="{USER}" password="{PASSWORD}" '
    f'user_{USER}="{PASSWORD}" user_{STRANGER}="{PASSWORD}";'
)
# The listener keeps its name, PLAINTEXT, and is anything but.
_SETTINGS = {
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL",
    "inter.broker.listener.name": "PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "listener.name.plaintext.plain.sasl.jaas.config": _JAAS,
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:{USER};User:ANONYMOUS",  # the latter is the controller
    "auto.create.topics.enable": "true",  # as it is by default
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
}


@dataclass(frozen=True)
class SecuredBroker:
    """`bootstrap`, and the file of the certificate that has to be trusted."""

    bootstrap: str
    ca_file: Path

    @property
    def fields(self) -> dict[str, str]:
        """The settings that get in, by field."""
        return {
            "kafka_bootstrap": self.bootstrap,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_ssl_cafile": str(self.ca_file),
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_sasl_username": USER,
            "kafka_sasl_password": PASSWORD,
        }

    @property
    def variables(self) -> dict[str, str]:
        """The same, by variable."""
        return {variable(name): value for name, value in self.fields.items()}


@asynccontextmanager
async def secured_broker(state: Path) -> AsyncIterator[SecuredBroker]:
    """One that keeps everything in `state`."""
    certificate, key_store = await _certificate(state)
    port, controller_port = free_ports(2)
    own = {"ssl.keystore.location": str(key_store), "ssl.truststore.location": str(certificate)}
    runtime = kafka.Runtime(find_java(), await asyncio.to_thread(ensure_jars, print, Event()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "SETTINGS", kafka.SETTINGS | _SETTINGS | own)
        server = await kafka.prepare(state, state, runtime, (port, controller_port))
    security = Security("SASL_SSL", "PLAIN", USER, PASSWORD, str(certificate))
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
        yield SecuredBroker(bootstrap, certificate)
    finally:
        await server.stop()


async def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine's, and the file that has its key, too."""
    certificate, key, both = (folder / name for name in ("ca.pem", "key.pem", "both.pem"))
    made = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", "/CN=execstream", "-addext", f"subjectAltName=IP:{HOST}"),
        *("-keyout", str(key), "-out", str(certificate)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    both.write_text(key.read_text() + certificate.read_text())
    return certificate, both
