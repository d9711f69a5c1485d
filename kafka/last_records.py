"""The last record of each partition of a topic: the progress of its earlier writers."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from execstream.kafka import header_decoding
from execstream.kafka.security import client_options


async def last_values(
    bootstrap: str, topic: str, partitions: Sequence[int]
) -> dict[int, bytes | None]:
    """The value of the last record by partition; empty partitions are left out.

    None where the last record has no value, and where the end is a transaction's marker.
    """
    found: dict[int, bytes | None] = {}
    header_decoding.install()
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        **client_options(),
        enable_auto_commit=False,
        max_partition_fetch_bytes=1,  # one record per partition, however large it is
    )
    try:
        await reader.start()
        all_of = [TopicPartition(topic, number) for number in partitions]
        first, end = await reader.beginning_offsets(all_of), await reader.end_offsets(all_of)
        wanted = {tp for tp in all_of if end[tp] > first[tp]}
        reader.assign(list(wanted))
        for tp in wanted:
            reader.seek(tp, end[tp] - 1)
        while wanted:
            for tp, records in (await reader.getmany(timeout_ms=500)).items():
                found[tp.partition] = records[-1].value
                wanted.discard(tp)
            for tp in tuple(wanted):
                if await reader.position(tp) >= end[tp]:
                    found[tp.partition] = None
                    wanted.discard(tp)
    finally:
        await reader.stop()
    return found
