"""Values of options, and paths of settings."""

from datetime import UTC, datetime, timedelta

import pytest

from execstream.cli.common import NoSince, since
from execstream.dashboard.server import url_of

NOW = datetime(2026, 3, 1, 14, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("5m", NOW - timedelta(minutes=5)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-03-01T06:30:00+02:00", datetime(2026, 3, 1, 4, 30, tzinfo=UTC)),
    ],
)
def test_since(text: str, begin: datetime) -> None:
    """A span that ends now, or a time."""
    assert since(text, NOW) == begin


@pytest.mark.parametrize("text", ["", "1w", "-5m", "2026-03-01", "2026-03-01T06:30:00", "12"])
def test_no_since(text: str) -> None:
    """Any other value is refused, with both forms."""
    with pytest.raises(NoSince, match=r"neither a span like 5m, .* nor a time like 2026-"):
        since(text, NOW)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8686"),
        ("0.0.0.0", "http://127.0.0.1:8686"),  # noqa: S104 - nothing listens
        ("::", "http://[::1]:8686"),
        ("::1", "http://[::1]:8686"),
        ("page.example.com", "http://page.example.com:8686"),
    ],
)
def test_url_of_what_listens(host: str, url: str) -> None:
    """One that a browser on this machine can open."""
    assert url_of(host, 8686) == url
