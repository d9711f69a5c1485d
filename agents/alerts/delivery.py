"""Deliver alerts to a Redis channel, and alerts and ends of runs to a webhook.

Messages stay in Postgres until they have arrived, and a restart continues with those that are left.
Publishing to Redis is retried without end, posting to the webhook for 24 hours.
"""

import asyncio
import hashlib
import hmac
import time

import aiohttp
import asyncpg
import structlog
from redis.asyncio import Redis

from execstream.storage.alerts import outbox, run_ends
from execstream.storage.alerts.outbox import Message, mark_published, take_unpublished
from execstream.storage.alerts.run_ends import EndMessage
from execstream.storage.redis.channels import alert_channel

WITHIN = 10.0  # seconds for Redis or the webhook to take something; less than a message's lease
LONGEST_PAUSE = 300.0  # seconds between two tries
CLEAR_EVERY = 3_600.0  # seconds between deletions of old ends of runs

log = structlog.get_logger(__name__)


class Channel:
    """Publishes to Redis."""

    def __init__(self, url: str, prefix: str) -> None:
        self._redis: Redis = Redis.from_url(url)
        self._channel = alert_channel(prefix)

    async def deliver(self, connection: asyncpg.Connection) -> None:
        """Publish the unpublished messages."""
        async with connection.transaction(), asyncio.timeout(WITHIN):
            messages = await take_unpublished(connection)
            for message in messages:
                await self._redis.publish(self._channel, message.json)
            if messages:
                await mark_published(connection, messages)

    async def close(self) -> None:
        await self._redis.aclose()


class Webhook:
    """Posts to an address, one message a request, signed when there is a secret.

    Messages about alerts and ends of runs wait apart from each other; a turn takes 50 of each.
    """

    def __init__(self, url: str, secret: str | None) -> None:
        self._url = url
        self._secret = secret
        self._session: aiohttp.ClientSession | None = None
        self._cleared_at = -CLEAR_EVERY

    async def deliver(self, connection: asyncpg.Connection) -> None:
        """Post the messages that are due, and record those that have arrived."""
        messages: list[Message | EndMessage] = []
        messages += await outbox.take_due(connection)
        messages += await run_ends.take_due(connection)
        errors = await asyncio.gather(*map(self._post, messages))
        for message, error in zip(messages, errors, strict=True):
            await _note(connection, message, error)
        if time.monotonic() - self._cleared_at > CLEAR_EVERY:
            await run_ends.delete_old(connection)
            self._cleared_at = time.monotonic()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, message: Message | EndMessage) -> str | None:
        """Return the error, or None."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN))
        try:
            async with self._session.post(
                self._url,
                data=message.json,
                headers=headers(message, self._secret, int(time.time())),
                allow_redirects=False,
            ) as answer:
                return None if answer.ok and answer.status < 300 else f"HTTP {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # Only its type: its text may repeat the address, which may be a secret.
            return type(error).__name__


async def _note(
    connection: asyncpg.Connection, message: Message | EndMessage, error: str | None
) -> None:
    """Record that a message has arrived, or when it is tried again."""
    pause = pause_after(message.tries)
    if error is not None:
        log.warning("webhook_failed", message=message.id, error=error, pause=pause)
    match message, error:
        case Message(), None:
            await outbox.mark_delivered(connection, message)
        case Message(), str():
            await outbox.mark_failed(connection, message, error, pause)
        case EndMessage(), None:
            await run_ends.mark_delivered(connection, message)
        case EndMessage(), str():
            await run_ends.mark_failed(connection, message, error, pause)


def pause_after(tries: int) -> float:
    """Seconds until the next try: 1, 2, 4 and so on."""
    return min(LONGEST_PAUSE, 2.0 ** (min(tries, 16) - 1))


def headers(message: Message | EndMessage, secret: str | None, timestamp: int) -> dict[str, str]:
    """Return the headers of a request. The signature is HMAC-SHA256 over the timestamp, a dot and
    the body.
    """
    headers_sent = {
        "Content-Type": "application/json",
        "User-Agent": "execstream",
        "Execstream-Message": str(message.id),
        "Execstream-Timestamp": str(timestamp),
    }
    if secret is not None:
        signed = str(timestamp).encode() + b"." + message.json
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        headers_sent["Execstream-Signature"] = f"sha256={digest}"
    return headers_sent
