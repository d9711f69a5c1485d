"""Redis: it answers, is new enough, keeps its data, and permits our commands."""

import time
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from execstream.cli.diagnosis.finding import Examined, Finding, sentence
from execstream.config.settings import Settings, variable
from execstream.storage.redis.channels import execution_channel
from execstream.storage.redis.positions import RedisPositions
from execstream.streams.topics import EVENTS

OLDEST = (6, 2)  # version that is tested
PATIENCE = 10.0  # seconds

# Every command of workers, servers, clients and the doctor.
COMMANDS = (
    *("ping", "info", "time"),
    *("hget", "hgetall", "hset", "hincrby", "evalsha", "script|load"),
    *("publish", "pubsub", "subscribe", "psubscribe"),
)
# Errors of Redis when it takes no writes, in scripts too, and their cures.
_WRITE_CURES = {
    "used memory > 'maxmemory'": "Raise maxmemory, or have other keys leave: Redis is full.",
    "read only replica": f"Name the primary in {variable('redis_url')}: this is a replica.",
    "MISCONF": "Make room where Redis keeps its files: it cannot save, and stops writes.",
    "NOREPLICAS": "Start the replicas that min-replicas-to-write asks for, or lower it.",
}
# For a command in a script, older versions of Redis return only this.
_FORBIDDEN = ("NOPERM", "no permissions", "can't run this command", "ACL failure")

_redis = Examined("redis")


async def examine_redis(settings: Settings) -> AsyncIterator[Finding]:
    """Ends after the first finding when Redis does not let us in."""
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
        except ResponseError as error:
            yield _unable(error, settings)


async def _server(redis: Redis) -> AsyncIterator[Finding]:
    server = await redis.info()
    version = str(server["redis_version"])
    yield _redis.ok("answers", f"version {version}, {server['used_memory_human']} used")
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        yield _redis.warning(
            "version",
            f"{version} is older than the tested versions, {'.'.join(map(str, OLDEST))}",
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
    """Run the commands of the bridge, replies and listeners, on channels without subscribers."""
    prefix = settings.redis_prefix
    positions = RedisPositions(redis, prefix, settings.topic_prefix + EVENTS.name)
    await positions.load()
    await positions.published()
    await positions.rehearse()
    await redis.script_load("return 1")  # without effect on the scripts that are loaded
    await redis.pubsub_numpat()
    await redis.publish(f"{prefix}execution_reply/doctor", b"{}")
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(f"{prefix}execution_reply/doctor")
        await pubsub.get_message(timeout=PATIENCE)
        await pubsub.psubscribe(execution_channel(prefix, "*", "*", "*"))
        await pubsub.get_message(timeout=PATIENCE)
    return _redis.ok("permissions", f"writes to keys and channels {prefix}execution_*")


def _unable(error: ResponseError, settings: Settings) -> Finding:
    """The finding about a command that Redis did not do."""
    found = sentence(error)
    if isinstance(error, NoPermissionError) or any(words in found for words in _FORBIDDEN):
        return _redis.failed("permissions", found, f"Run: {acl_command(settings)}")
    cures = [cure for words, cure in _WRITE_CURES.items() if words in found]
    return _redis.failed("writing", found, cures[0] if cures else "See the log of Redis.")


def acl_command(settings: Settings) -> str:
    """The command of Redis that allows the user of the settings all that is needed, and no more."""
    user = Redis.from_url(settings.redis).connection_pool.connection_kwargs.get("username")
    prefix = settings.redis_prefix
    pattern = execution_channel(prefix, "*", "*", "*")
    commands = " ".join(f"+{command}" for command in COMMANDS)
    # A pattern to listen to must be among the user's, letter for letter.
    return (
        f"ACL SETUSER {user or 'default'} ~{prefix}execution_* &{prefix}execution_* &{pattern} "
        f"{commands}"
    )


def _remedy(error: BaseException) -> str:
    address = variable("redis_url")
    if isinstance(error, AuthenticationError | NoPermissionError) or "NOAUTH" in str(error):
        return f"Mend user and password in {address}."
    return f"Start Redis, or mend {address}; where it wants TLS, it begins with rediss://."
