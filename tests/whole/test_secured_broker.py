"""Kafka over TLS and with a password."""

from pathlib import Path

import pytest

from execstream.devstack import Addresses
from tests.names import Names
from tests.secured import SecuredBroker
from tests.whole.program import Program


@pytest.fixture
def variables(secured: SecuredBroker, stack: Addresses, names: Names) -> dict[str, str]:
    return secured.variables | {
        "EXECSTREAM_POSTGRES_DSN": stack.postgres_dsn,
        "EXECSTREAM_REDIS_URL": stack.redis_url,
        "EXECSTREAM_SCHEMA": names.schema,
        "EXECSTREAM_REDIS_PREFIX": names.redis_prefix,
    }


@pytest.mark.slow
async def test_everything_gets_in(tmp_path: Path, variables: dict[str, str]) -> None:
    """Topics, producers, readers and the workers of every role: the receipt needs them all."""
    done = await Program(tmp_path, variables)("demo", "--runs", "2", "--exit", "--json")

    assert done.code == 0, done.err
    receipt = done.json()
    assert receipt["lost"] == 0
    assert receipt["events"] > 0
    assert receipt["redis_messages"] > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("KAFKA_SASL_PASSWORD", "another", id="wrong password"),
        pytest.param("KAFKA_SSL_CAFILE", "", id="certificate of somebody unknown"),
        pytest.param("KAFKA_SECURITY_PROTOCOL", "SSL", id="no password"),
    ],
)
async def test_nobody_else_gets_in(
    tmp_path: Path, variables: dict[str, str], name: str, value: str
) -> None:
    """One setting that is wrong, and the program ends with a sentence instead."""
    wrong = variables | {f"EXECSTREAM_{name}": value}

    done = await Program(tmp_path, wrong)("topics", "check")

    assert done.code == 1
    assert "Traceback" not in done.err
    assert "another" not in done.err


async def test_the_password_is_not_shown(tmp_path: Path, variables: dict[str, str]) -> None:
    """Neither by `config show`, nor when settings are wrong."""
    program = Program(tmp_path, variables | {"EXECSTREAM_KAFKA_SASL_MECHANISM": "GUESS"})
    refused = await program("config", "show")
    shown = await Program(tmp_path, variables)("config", "show")

    assert refused.code == 1
    assert "EXECSTREAM_KAFKA_SASL_MECHANISM" in refused.err
    assert shown.code == 0
    assert variables["EXECSTREAM_KAFKA_SASL_PASSWORD"] not in refused.err + shown.out + shown.err


async def test_a_user_is_needed(tmp_path: Path, variables: dict[str, str]) -> None:
    """Without one, the message names the missing settings."""
    wrong = variables | {"EXECSTREAM_KAFKA_SASL_USERNAME": ""}

    done = await Program(tmp_path, wrong)("topics", "check")

    assert done.code == 1
    assert "EXECSTREAM_KAFKA_SASL_USERNAME" in done.err
