"""B4, bare aiokafka and asyncpg on the small schema: one process, one statement a batch.

Folding a batch overlaps with the commit of the one before. Commands are published as they came, on
one channel of Redis.
"""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from bench.contenders.contender import BATCH, Progress, commands_topic, connect, read_job
from bench.contenders.small_machine import SmallMachine
from bench.contenders.small_schema import COMMIT


async def main() -> None:
    job, settings = read_job()
    progress, machine = Progress(job.total), SmallMachine()
    connection = await connect(settings)
    redis = Redis.from_url(settings.redis)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    parts = [TopicPartition(commands_topic(settings), number) for number in job.ends]
    consumer.assign(parts)
    await consumer.seek_to_beginning(*parts)

    async def commit(
        offsets: dict[int, int], rows: tuple[object, ...], values: list[bytes]
    ) -> None:
        await connection.execute(COMMIT, list(offsets), list(offsets.values()), *rows)
        async with redis.pipeline(transaction=False) as pipeline:
            for value in values:
                pipeline.publish(settings.redis_prefix + "events", value)
            await pipeline.execute()
        progress.add(len(values))

    committing = asyncio.create_task(asyncio.sleep(0))
    while not progress.is_done:
        fetched = await consumer.getmany(timeout_ms=100, max_records=BATCH)
        offsets = {tp.partition: records[-1].offset + 1 for tp, records in fetched.items()}
        values = [record.value for records in fetched.values() for record in records]
        for value in values:
            machine.apply(value)
        rows = machine.take().rows()
        await committing
        if values:
            committing = asyncio.create_task(commit(offsets, rows, values))
    await consumer.stop()


if __name__ == "__main__":
    asyncio.run(main())
