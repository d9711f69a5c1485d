"""Security of connections to brokers: the options of clients."""

import ast
import ssl
from collections.abc import Iterator

import pytest

from execstream.kafka.security import (
    CertificatesUnusable,
    Security,
    client_options,
    configure_security,
)
from tests.rooms import MODULES, ROOT


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    configure_security(Security())


def clients() -> Iterator[tuple[str, ast.Call]]:
    """Every place that makes a client of aiokafka."""
    for file in (module for module in MODULES if "devstack" not in module.parts):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name)) if name.startswith("AIOKafka"):
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_every_client_gets_in_in_the_same_way() -> None:
    """Each client is made with the options of `client_options`."""
    made = list(clients())
    assert made
    assert [place for place, call in made if all(one.arg for one in call.keywords)] == []


def test_plain() -> None:
    """Nothing but the addresses is needed."""
    configure_security(Security())
    assert client_options() == {"security_protocol": "PLAINTEXT", "ssl_context": None}


def test_with_a_password() -> None:
    """It is not in the representation of a `Security` in logs."""
    security = Security("SASL_PLAINTEXT", "PLAIN", "ada", "secret")
    configure_security(security)
    assert client_options()["sasl_plain_password"] == "secret"  # noqa: S105
    assert "secret" not in repr(security)


def test_tls_checks_names() -> None:
    """Certificates have to be signed by a known authority, for the named host."""
    configure_security(Security("SSL"))
    context = client_options()["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_file_that_is_missing() -> None:
    """Is named before anything is connected to."""
    with pytest.raises(CertificatesUnusable, match=r"/nowhere/ca\.pem.*No such file"):
        configure_security(Security("SSL", ca_file="/nowhere/ca.pem"))
