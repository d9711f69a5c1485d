"""Positions in Redis, moved in one step with the publishing of the messages before them.

One hash per topic: field `<partition>` is the offset to go on from, `<partition>:source` the source
of the last event that was published, and `published` counts the events of all time whose message
was published, or had no subscriber. Redis may forget all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from execstream.config.address_syntax import REDIS_FORM, checked_address
from execstream.storage.redis.channels import wake_up_channel
from execstream.streams.events import Source

PATIENCE = 10.0  # seconds until a Redis that does not answer counts as away

_source = msgspec.json.Decoder(Source | None)

# A script, because it is atomic like MULTI, costs a tenth of it per message, and can look first:
# messages below the stored position were published before, by another bridge, which cuts its groups
# elsewhere, or by a first try whose answer got lost. Of events without a subscriber only the
# offsets come along, all in one argument.
_PUBLISH = """
local published, at = 0, 1
while at <= #ARGV do
  local partition, next, source = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local unheard, count = ARGV[at + 3], ARGV[at + 4]
  local stored = tonumber(redis.call('HGET', KEYS[1], partition) or -1)
  at = at + 5
  if stored < tonumber(next) then
    for offset in string.gmatch(unheard, '%d+') do
      if stored <= tonumber(offset) then published = published + 1 end
    end
    for message = at, at + 3 * count - 1, 3 do
      if stored <= tonumber(ARGV[message]) then
        redis.call('PUBLISH', ARGV[message + 1], ARGV[message + 2])
        published = published + 1
      end
    end
    redis.call('HSET', KEYS[1], partition, next, partition .. ':source', source)
  end
  at = at + 3 * count
end
redis.call('HINCRBY', KEYS[1], 'published', published)
if published > 0 then redis.call('PUBLISH', KEYS[2], published) end
return published
"""

# Every command of the script above, so that it fails for the same reasons, and nothing moves.
_REHEARSAL = """
local published = redis.call('HGET', KEYS[1], 'published') or 0
redis.call('PUBLISH', ARGV[1], '')
redis.call('HSET', KEYS[1], 'published', published)
return redis.call('HINCRBY', KEYS[1], 'published', 0)
"""


def open_redis(url: str) -> Redis:
    """A client that does not try again on its own.

    It cannot know whether the first try was received, and would publish twice. Raises NotConfigured
    for an address that cannot be read.
    """
    return Redis.from_url(
        checked_address(url, REDIS_FORM),
        retry=Retry(NoBackoff(), 0),
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
    )


@dataclass(slots=True)
class RedisPosition:
    """The position of a partition: the offset to continue from, and the last source before it."""

    next_offset: int
    source: Source | None


@dataclass(slots=True)
class Publication:
    """One partition's messages, as (offset of its event, channel, message) in order, the offsets of
    events whose message has no subscriber, and the partition's place after all of them.
    """

    partition: int
    place: RedisPosition
    messages: list[tuple[int, str, bytes]] = field(default_factory=list)
    unheard: list[int] = field(default_factory=list)


class RedisPositions:
    """The positions of one topic's partitions."""

    def __init__(self, redis: Redis, prefix: str, topic: str) -> None:
        self.key = f"{prefix}execution_bridge/{topic}"
        self._wake_up = wake_up_channel(prefix)
        self._redis = redis
        self._prefix = prefix
        self._publish = redis.register_script(_PUBLISH)
        self._rehearsal = redis.register_script(_REHEARSAL)

    async def load(self) -> dict[int, RedisPosition]:
        """Every partition's place that Redis remembers."""
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(self.key))
        places = {}
        for name, value in stored.items():
            if name.isdigit():
                source = _source.decode(stored.get(name + b":source", b"null"))
                places[int(name)] = RedisPosition(int(value), source)
        return places

    async def skip_to(self, begins: Mapping[int, int]) -> None:
        """Move to `begins`, by partition, where the known position is below."""
        for partition, place in (await self.load()).items():
            if place.next_offset < (begin := begins.get(partition, 0)):
                await self._redis.hset(self.key, str(partition), str(begin))

    async def published(self) -> int:
        """The number of events that were ever published or had no subscriber, as far as Redis
        remembers.
        """
        return int(await self._redis.hget(self.key, "published") or 0)

    async def rehearse(self) -> None:
        """Raise the RedisError that publishing would fail with; no message is published."""
        channel = f"{self._prefix}execution_bridge/rehearsal"
        await self._rehearsal(keys=[self.key, self._wake_up], args=[channel])

    async def publish(self, publications: Sequence[Publication]) -> int:
        """Publish the messages and move the positions, all or nothing; return the number of events.

        When the answer gets lost (a `RedisError` or `OSError`), calling again is safe.
        """
        arguments: list[str | bytes | int] = []
        for part in publications:
            place = part.place
            source = msgspec.json.encode(place.source)
            unheard = ",".join(map(str, part.unheard))
            arguments += (part.partition, place.next_offset, source, unheard, len(part.messages))
            for message in part.messages:
                arguments += message
        return int(await self._publish(keys=[self.key, self._wake_up], args=arguments))
