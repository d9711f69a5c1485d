"""Redaction of exports: by names in any case style, by pairs, and by shapes of secrets."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw

from execstream.recovery.bundles.lines import (
    CommandLine,
    EntryLine,
    GraphLine,
    Line,
    Redactor,
    RefusalLine,
    encode_line,
)
from execstream.recovery.bundles.redaction import Redaction
from tests.orders import Orders, encoded

SECRET_NAMES = (
    *("password", "userPassword", "PASSWD", "passphrase", "passCode", "pwd", "db_pwd", "user.pass"),
    *(
        "secret",
        "clientSecret",
        "token",
        "accessToken",
        "X-Auth-Token",
        "credentials",
        "Set-Cookie",
    ),
    *(
        "auth",
        "basicAuth",
        "Authorization",
        "Proxy-Authorization",
        "bearer",
        "jwt",
        "idJWT",
        "oauth",
    ),
    *("session_id", "sessionId", "SESSIONID", "api_key", "apiKey", "apikey", "api-key", "APIKey"),
    *(
        "access_key",
        "accessKey",
        "AWS_SECRET_ACCESS_KEY",
        "privateKey",
        "private-key",
        "PRIVATE KEY",
    ),
    *("sshKey", "signingKey", "encryption_key", "dsn", "SENTRY_DSN", "connection_string"),
    *("connectionString", "X-Amz-Signature", "otp"),
)
OTHER_NAMES = (
    *("author", "authority", "key", "keyboard", "monkey", "passenger", "compass", "text", "url"),
    *("session", "sidebar", "user", "name", "value", "stats", "cost", "signed", "design"),
)
# Texts, and the rest of them after redaction.
TEXTS = {
    "postgresql://me:hunter2@db/x": "postgresql://me:[redacted]@db/x",
    "see redis://:p%40ss@r:6379/0, please": "see redis://:[redacted]@r:6379/0, please",
    "401 for Authorization: Bearer abc.def-123": "401 for Authorization: Bearer [redacted]",
    "curl -H 'Authorization: Basic dXNlcjpwYXNz'": ("curl -H 'Authorization: Basic [redacted]'"),
    "no access with sk-proj-4f5d6a": "no access with [redacted]",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a": "[redacted]",
    "AKIAIOSFODNN7EXAMPLE is wrong": "[redacted] is wrong",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP": "[redacted]",
    "https://h/x?user=u&password=hunter2&n=1": "https://h/x?user=u&password=[redacted]&n=1",
    "host=h password='a b' port=1": "host=h password='[redacted]' port=1",
    '{"apiKey": "k-1", "n": 1}': '{"apiKey": "[redacted]", "n": 1}',
    "AWS_SECRET_ACCESS_KEY=wJalr/K7 set": "AWS_SECRET_ACCESS_KEY=[redacted] set",
    "token: a1b2c3 expired": "token: [redacted] expired",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----": "[redacted]",
    "-----BEGIN PRIVATE KEY-----\nMIIE": "[redacted]",
}
PLAIN_TEXTS = (
    *("max_tokens: 4096", "unexpected token: a string was expected", "https://h:8080/x?a=b@c"),
    *("Basic information", "task-force", "a password is needed", "token == expected", "risk-free"),
)


def redacted(value: Any, name: str = "data") -> Any:
    return json.loads(Redaction().apply(encoded(value), name))


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets(name: str) -> None:
    """Each is recognized as a key, as a pin, and as the name in a pair."""
    assert redacted({name: "s"}) == {name: "[redacted]"}
    assert redacted("s", name) == "[redacted]"
    assert redacted({"name": name, "value": "s", "n": 1}) == {
        "name": name,
        "value": "[redacted]",
        "n": 1,
    }
    assert redacted([["Accept", "x"], [name, "s"]]) == [["Accept", "x"], [name, "[redacted]"]]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_names_of_other_things(name: str) -> None:
    """They stay."""
    for value in ({name: "s"}, {"Key": name, "Value": "s"}, [name, "s"]):
        assert redacted(value) == value


@pytest.mark.parametrize("text", TEXTS)
def test_shapes_of_secrets(text: str) -> None:
    """They go from texts, wherever these stand, once and for all."""
    assert redacted({"a": [text]}) == {"a": [TEXTS[text]]}
    assert redacted(TEXTS[text]) == TEXTS[text]


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_texts_without_secrets(text: str) -> None:
    """They stay."""
    assert redacted(text) == text


def test_headers_as_objects() -> None:
    """A header of an object with key and value."""
    assert redacted([{"key": "Authorization", "value": "x"}, {"key": "Accept", "value": "x"}]) == [
        {"key": "Authorization", "value": "[redacted]"},
        {"key": "Accept", "value": "x"},
    ]


def entry(seq: int, name: str, data: Any, step: str = "s") -> EntryLine:
    return EntryLine(
        graph_exec_id="r",
        seq=seq,
        at=datetime.now(UTC),
        command_id="c",
        type="node.input",
        source=(0, seq, 0),
        node_exec_id=step,
        name=name,
        data=Raw(encoded(data)),
    )


def exported(*lines: Line) -> tuple[str, Redaction]:
    """The text of a bundle."""
    redaction = Redaction()
    bundle = Redactor(redaction).redacted(lines)  # type: ignore[arg-type]
    return b"\n".join(map(encode_line, bundle)).decode(), redaction


def test_pins_of_a_step_are_a_pair() -> None:
    """A block of kind INPUT has its name and its value in two pins, in any order, and gives the
    value out again; the same value of other steps and of commands goes, too."""
    orders = Orders()
    given = orders.give("n", "value", "sk.live")
    nodes = orders.create(orders.node("a", inputs={"name": "api_key", "value": "sk.live"}))
    text, redaction = exported(
        entry(1, "value", "sk.live"),
        entry(2, "name", "api_key"),
        entry(3, "result", "use sk.live"),  # shorter than a part that is looked for
        entry(4, "result", "sk.live"),
        entry(5, "value", "stays", step="other"),
        CommandLine(partition=0, offset=1, value=Raw(given.value or b"")),
        CommandLine(partition=0, offset=2, value=Raw(nodes.value or b"")),
    )
    assert text.count("sk.live") == 1
    assert "stays" in text
    assert redaction.found == {
        "value": 2,
        "result": 1,
        "starting_nodes[].inputs.value": 1,
    }


def test_errors_and_descriptions() -> None:
    """Errors in stats, details of refusals, and texts of the catalogue are redacted; figures
    stay."""
    failed = Orders().move("FAILED", stats={"error": "no hunter2-hunter2", "output_tokens": 7})
    text, redaction = exported(
        entry(1, "password", "hunter2-hunter2"),
        CommandLine(partition=0, offset=1, value=Raw(failed.value or b"")),
        RefusalLine(
            source=(0, 1),
            command_id="c",
            graph_exec_id="r",
            user_id="u",
            command_type="node.output",
            reason="r",
            detail=Raw(b'{"found":"hunter2-hunter2"}'),
            at=datetime.now(UTC),
        ),
        GraphLine(id="g", version=1, name="n", description="with sk-live-1 in it"),
    )
    assert "hunter2" not in text
    assert "sk-live" not in text
    assert '"error":"no [redacted]","output_tokens":7' in text
    assert redaction.found == {
        "password": 1,
        "stats.error": 1,
        "detail.found": 1,
        "graph.description": 1,
    }


@pytest.mark.parametrize("value", [b'"\xff"', b'"\\ud800"', b"[" * 5_000 + b"]" * 5_000])
def test_what_cannot_be_read_is_redacted(value: bytes) -> None:
    """It may hold a secret, and never ends an export."""
    redaction = Redaction()
    command = Redactor(redaction).command(b'{"type":"x","inputs":{"a":' + value + b"}}")
    assert command is None or b"[redacted]" in bytes(command)
    for broken in (b"\xff", b"{", b"1", value):
        assert Redactor(redaction).command(broken) is None


def test_plain_looks_at_names_only() -> None:
    """Without the search in values, only the named keys decide."""
    redaction = Redaction(["MINE"], looks_at_values=False)
    value = {"mine": 1, "password": "sk-live-1", "a": ["password", "x"]}
    assert json.loads(redaction.apply(encoded(value), "data")) == value | {"mine": "[redacted]"}


@pytest.mark.parametrize(
    "text",
    ["a" * 500_000, "eyJ-" * 125_000, "password" * 60_000, "://a:" * 100_000, "bearer x " * 60_000],
)
def test_long_texts_that_are_nearly_secrets_stay(text: str) -> None:
    """Half a megabyte; `bench/hostile_text.py` measures the time."""
    assert redacted(text) == text
