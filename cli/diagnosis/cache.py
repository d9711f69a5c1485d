"""Redis: whether it answers, is new enough, keeps what it is given, and lets us do what we must."""

import time
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from execstream.cli.diagnosis.finding import Examined, Finding, sentence
from execstream.config.settings import Settings, variable
from execstream.storage.redis.positions import RedisPositions
from execstream.streams.topics import EVENTS

OLDEST = (6, 2)  # version that is tested
PATIENCE = 10.0  # seconds

_redis = Examined("redis")


async def examine_redis(settings: Settings) -> AsyncIterator[Finding]:
    """Ends after the first finding when Redis lets nobody in."""
    async with Redis.from_url(
        settings.redis, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
    ) as redis:
        try:
            await redis.ping()
        except (RedisError, OSError) as error:
            yield _redis.failed("answers", sentence(error), _remedy(error))
            return
        try:
            async for finding in _server(redis):
                yield finding
            yield await _permissions(redis, settings)
        except NoPermissionError as error:
            yield _lacking(error)


async def _server(redis: Redis) -> AsyncIterator[Finding]:
    server = await redis.info()
    version = str(server["redis_version"])
    yield _redis.ok("answers", f"version {version}, {server['used_memory_human']} used")
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        yield _redis.warning(
            "version",
            f"{version} is older than what is tested, {'.'.join(map(str, OLDEST))}",
            "Plan an upgrade.",
        )
    policy = server.get("maxmemory_policy", "noeviction")
    if server.get("maxmemory") and str(policy).startswith("allkeys"):
        yield _redis.failed(
            "memory",
            f"{policy}: keys without an end may be thrown away, the bridge's position too",
            "Set maxmemory-policy to noeviction or one of volatile-*.",
        )
    before = time.time()
    seconds, micros = await redis.time()
    yield _redis.clock(seconds + micros / 1e6, before, time.time())


async def _permissions(redis: Redis, settings: Settings) -> Finding:
    """Do what the bridge and replies do, where nobody hears it."""
    await RedisPositions(redis, settings.redis_prefix, settings.topic_prefix + EVENTS.name).load()
    await redis.eval("return redis.call('time')", 0)
    await redis.publish(f"{settings.redis_prefix}execution_reply/doctor", b"{}")
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(f"{settings.redis_prefix}execution_reply/doctor")
        await pubsub.get_message(timeout=PATIENCE)
    return _redis.ok("permissions", f"on keys and channels {settings.redis_prefix}execution_*")


def _lacking(error: NoPermissionError) -> Finding:
    return _redis.failed(
        "permissions",
        sentence(error),
        "Allow the user this (ACL SETUSER): info, time, hgetall, hset, hincrby, eval, publish, "
        "pubsub, subscribe and psubscribe, on keys and channels that begin with the prefix.",
    )


def _remedy(error: BaseException) -> str:
    address = variable("redis_url")
    if isinstance(error, AuthenticationError | NoPermissionError) or "NOAUTH" in str(error):
        return f"Mend user and password in {address}."
    return f"Start Redis, or mend {address}; where it wants TLS, it begins with rediss://."
