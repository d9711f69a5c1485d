"""B0, the original's way: no log; each caller makes one transaction a call, reads back, publishes.

The commands of a run are always made by the same caller, one after the other.
"""

import asyncio

from redis.asyncio import Redis

from bench.contenders.calls import Caller
from bench.contenders.contender import Progress, connect, read_job, read_records
from bench.contenders.plain_commands import read
from execstream.streams.partitions import partition_of


async def main() -> None:
    job, settings = read_job()
    shares: list[list[bytes]] = [[] for _ in range(job.callers)]
    for key, value in read_records(job):
        shares[partition_of(key, job.callers)].append(value)
    progress = Progress(job.total)
    async with Redis.from_url(settings.redis) as redis:

        async def calls(share: list[bytes]) -> None:
            caller = Caller(await connect(settings), redis, settings.redis_prefix)
            for value in share:
                if command := read(value):
                    await caller.call(command)
                progress.add(1)

        await asyncio.gather(*map(calls, shares))


if __name__ == "__main__":
    asyncio.run(main())
