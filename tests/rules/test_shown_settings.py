"""Display of settings: no possible password, in any form."""

import pytest

from execstream.config import setting_forms as rules
from execstream.config.settings import Settings, read_settings
from execstream.config.shown_addresses import shown_address
from execstream.config.unknown_variables import unknown_variables
from execstream.streams.errors import NotConfigured

CANARY = "canary-1"
# Addresses, and the displayed forms of them.
ADDRESSES = {
    "postgresql://me:canary-1@db:5432/x": "postgresql://me:***@db:5432/x",
    "postgresql://me@db/x": "postgresql://me@db/x",
    "postgresql://h/d?user=u&password=canary-1": "postgresql://h/d?user=u&***",
    "postgresql://h/d?sslmode=verify-full&sslrootcert=/etc/ca.pem": (
        "postgresql://h/d?sslmode=verify-full&sslrootcert=/etc/ca.pem"
    ),
    "postgresql://u:canary-1@h1:1,h2:2/d": "postgresql://u:***@h1:1,h2:2/d",
    "postgresql://u:ca@canary-1@h/d": "postgresql://***",
    "postgresql://u:x/canary-1@h/d": "postgresql://***",
    "postgresql://u:x?canary-1@h/d": "postgresql://***",
    "postgresql://u:x#canary-1@h/d": "postgresql://***",
    "postgresql://h/d?user=canary-1%40&host=x@canary-1": "postgresql://h/d?***",
    "redis://:canary-1@r:6379/0": "redis://:***@r:6379/0",
    "redis://h/0?password=canary-1": "redis://h/0?***",
    "rediss://u:canary-1@[::1]:6379/0?ssl_ca_certs=/ca.pem#canary-1": (
        "rediss://u:***@[::1]:6379/0?ssl_ca_certs=/ca.pem&***"
    ),
    "unix:///run/redis.sock?db=1&password=canary-1": "unix:///run/redis.sock?db=1&***",
    "http://u:c3@a:1,http://u:canary-1@b:2": "http://u:***@a:1,http://u:***@b:2",
    "http://a:1,http://b:2/x": "http://a:1,http://b:2/x",
    "host=h password=canary-1": "***",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses(address: str) -> None:
    """Scheme, user, hosts, path and harmless options are shown; a form that is not understood is
    hidden."""
    assert shown_address(address) == ADDRESSES[address]


def test_every_setting_is_open_or_an_address_or_hidden() -> None:
    """A new setting is hidden until it is declared as open."""
    hidden = set(Settings.model_fields) - rules.OPEN - rules.ADDRESSES - {"kafka_bootstrap"}
    assert hidden == {
        *("kafka_sasl_password", "http_token", "alert_webhook_url", "alert_webhook_secret")
    }
    assert set(Settings.model_fields) >= rules.OPEN | rules.ADDRESSES


def test_settings_as_they_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No form of a password is among them, nor in the representation; brokers are shown."""
    for name, value in {
        "POSTGRES_DSN": "postgresql://h/d?user=u&password=canary-1",
        "REDIS_URL": "redis://h/0?password=canary-1",
        "TALLY_URLS": "http://u:c3@a:1,http://u:canary-1@b:2",
        "KAFKA_BOOTSTRAP": "h:1,[::1]:2",
        "KAFKA_SASL_PASSWORD": "canary-1",
        "ALERT_WEBHOOK_URL": "https://hooks.example.com/canary-1",
    }.items():
        monkeypatch.setenv(f"EXECSTREAM_{name}", value)
    settings = read_settings()
    shown = settings.shown()
    assert CANARY not in repr(settings) + repr(shown)
    assert shown["EXECSTREAM_KAFKA_BOOTSTRAP"] == "h:1,[::1]:2"
    assert shown["EXECSTREAM_TALLY_URLS"] == "http://u:***@a:1,http://u:***@b:2"
    assert [
        shown[f"EXECSTREAM_{name}"] for name in ("KAFKA_SASL_PASSWORD", "ALERT_WEBHOOK_URL")
    ] == [
        "***",
        "***",
    ]
    assert shown["EXECSTREAM_HTTP_TOKEN"] is None
    assert shown["EXECSTREAM_HTTP_PORT"] == 8686


def test_wrong_addresses_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The complaint about one names the form, not the value."""
    monkeypatch.setenv("EXECSTREAM_TALLY_URLS", "ftp://u:canary-1@a")
    with pytest.raises(NotConfigured) as caught:
        read_settings()
    assert str(caught.value).startswith("EXECSTREAM_TALLY_URLS must be like http://")
    assert CANARY not in str(caught.value)


def test_unknown_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is named with the setting that is nearest; those of tests and settings are not."""
    for name in ("POSTGRES_DNS", "QQQ", "TEST_STACK", "HTTP_PORT", "IMAGE"):
        monkeypatch.setenv(f"EXECSTREAM_{name}", "canary-1")
    assert unknown_variables() == [
        "EXECSTREAM_POSTGRES_DNS is no setting; the nearest one is EXECSTREAM_POSTGRES_DSN.",
        "EXECSTREAM_QQQ is no setting.",
    ]
    monkeypatch.setenv("EXECSTREAM_SUPERVISOR", "1")
    assert unknown_variables() == []
