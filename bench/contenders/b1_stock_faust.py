"""B1, a stock Faust agent: one event after the other, one transaction each, with B0's calls."""

import sys

import faust
from redis.asyncio import Redis

from bench.contenders.calls import Caller
from bench.contenders.contender import Progress, commands_topic, connect, read_job
from bench.contenders.plain_commands import read

job, settings = read_job()
progress = Progress(job.total)
app = faust.App(
    commands_topic(settings) + "b1",
    broker=f"kafka://{settings.kafka}",
    consumer_auto_offset_reset="earliest",
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
)
commands = app.topic(commands_topic(settings), value_serializer="raw", key_serializer="raw")


@app.agent(commands)
async def apply(stream: faust.StreamT[bytes]) -> None:
    """One transaction an event."""
    async with Redis.from_url(settings.redis) as redis:
        caller = Caller(await connect(settings), redis, settings.redis_prefix)
        async for value in stream:
            if command := read(value):
                await caller.call(command)
            progress.add(1)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--loglevel", "error", "--without-web"]
    app.main()
