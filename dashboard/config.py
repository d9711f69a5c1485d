"""What the server needs to know; read from the settings in `execstream` and handed down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from execstream.streams.decoding import MAX_COMMAND_BYTES


@dataclass(frozen=True, slots=True)
class Token:
    """Lets in whoever sends it; bound to a user, it shows what is that user's."""

    secret: str = field(repr=False)
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class DashboardConfig:
    """`tokens`: none lets everybody in who can reach the port. `kafka_options`: how clients get in,
    as aiokafka's keyword arguments."""

    kafka_bootstrap: str
    postgres_dsn: str
    redis_url: str
    topic_prefix: str = ""
    schema: str = "execstream"
    redis_prefix: str = ""
    group_prefix: str = "execstream"
    kafka_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tally_urls: tuple[str, ...] = ()
    max_command_bytes: int = MAX_COMMAND_BYTES
    tokens: tuple[Token, ...] = ()


def parse_tokens(text: str) -> tuple[Token, ...]:
    """The tokens of a text with commas between them, each `SECRET` or `SECRET=USER_ID`."""
    parts = (part.partition("=") for part in text.split(",") if part)
    return tuple(Token(secret, user_id or None) for secret, _, user_id in parts)
