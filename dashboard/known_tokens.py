"""The tokens that a server accepts: those of its settings, and those of the table `token`.

The table is read every RELOAD seconds, so that a new token works and a revoked one ends without a
restart. While Postgres is unavailable, tokens stay as they were read last.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import structlog

from execstream.config.settings import Settings, is_loopback, variable
from execstream.dashboard.quotas import Client
from execstream.storage.access.http_tokens import (
    ALL_SCOPES,
    SCOPES_OF_USERS,
    HttpToken,
    has_tokens,
    hash_secret,
    load_valid,
    mark_used,
)
from execstream.storage.connections import AWAY
from execstream.streams.errors import reason_of

RELOAD = 2.0  # seconds

log = structlog.get_logger(__name__)


def tokens_of_settings(text: str) -> dict[str, HttpToken]:
    """The tokens of a text with commas between them, each `SECRET` or `SECRET=USER_ID`, by hash."""
    parts = [part.partition("=") for part in text.split(",") if part]
    name = variable("http_token")
    return {
        hash_secret(secret): HttpToken(
            f"{name}:{number}", SCOPES_OF_USERS if user_id else ALL_SCOPES, user_id or None
        )
        for number, (secret, _, user_id) in enumerate(parts, 1)
    }


class KnownTokens:
    """Used by one event loop.

    Attributes:
        are_required: whether requests without a token are refused. True where the settings have
            one, where more than this machine can connect, and once a token was ever made: when the
            last one is revoked, the server stays closed.
    """

    def __init__(self, db: asyncpg.Pool, settings: Settings) -> None:
        self._db = db
        self._own = tokens_of_settings(settings.http_token or "")
        self.are_required = bool(self._own) or not is_loopback(settings.http_host)
        self._stored: dict[str, HttpToken] = {}
        self._used: set[int] = set()
        self._requests: defaultdict[HttpToken, list[Client]] = defaultdict(list)

    @property
    def refuse_all(self) -> bool:
        """Return whether no request can be answered, since there is no valid token."""
        return self.are_required and not self._own and not self._stored

    def find(self, secret: str) -> HttpToken | None:
        """The token with that secret."""
        hashed = hash_secret(secret)
        found = self._own.get(hashed) or self._stored.get(hashed)
        if found is not None and found.id is not None:
            self._used.add(found.id)
        return found

    @contextmanager
    def in_use(self, token: HttpToken, client: Client) -> Iterator[None]:
        """Serve a request of `client` under the token, which ends when the token does."""
        self._requests[token].append(client)
        try:
            yield
        finally:
            self._requests[token].remove(client)
            if not self._requests[token]:
                del self._requests[token]

    async def reload(self) -> None:
        """Read the table, and end the requests of tokens that are no longer valid."""
        self._stored = await load_valid(self._db)
        self.are_required = self.are_required or await has_tokens(self._db)
        valid = {*self._own.values(), *self._stored.values()}
        for token in self._requests.keys() - valid:
            log.info("token.ended", name=token.name, requests=len(self._requests[token]))
            for client in self._requests[token]:
                client.cut()
        used, self._used = self._used, set()
        if used:
            await mark_used(self._db, list(used))

    async def keep_current(self) -> None:
        """Reload for as long as the task lives."""
        while True:
            await asyncio.sleep(RELOAD)
            try:
                await self.reload()
            except AWAY as error:
                log.warning("tokens.not_reloaded", error=reason_of(error))
