"""Faults that bring records again: sent twice, or with consumers set back."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import DeleteGroupsRequest

from execstream.streams.topics import COMMANDS
from tests.faults.trial import Trial
from tests.worker import until

BACK = 10_000  # records in all partitions together


async def resend(trial: Trial) -> None:
    """The producer sends its last commands again."""
    trial.feeder.resend()


async def delete_group_offsets(trial: Trial) -> None:
    """The offsets that Kafka has of the workers' group are deleted while no worker runs."""
    await _stop(trial)
    admin = AIOKafkaAdminClient(bootstrap_servers=trial.stack.kafka_bootstrap)
    await admin.start()
    try:
        response = await admin._send_request(DeleteGroupsRequest([_group(trial)]))
        [(group, code)] = response.results
        if code:
            trial.outcome.failures.append(f"Kafka keeps the group {group}: error {code}.")
    finally:
        await admin.close()
    _start(trial)


async def set_group_back(trial: Trial) -> None:
    """The same offsets are set back by `BACK` records."""
    await _stop(trial)
    topic = trial.installation.topic(COMMANDS.name)
    partitions = [TopicPartition(topic, number) for number in range(COMMANDS.partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=trial.stack.kafka_bootstrap,
        group_id=_group(trial),
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        back = BACK // COMMANDS.partitions
        await consumer.commit({place: max(0, end - back) for place, end in ends.items()})
    finally:
        await consumer.stop()
    _start(trial)


def _group(trial: Trial) -> str:
    return f"{trial.installation.settings.group_prefix}-apply"


async def _stop(trial: Trial) -> None:
    """Stop the workers; return when Kafka takes them for gone."""
    for worker in trial.appliers:
        await worker.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=trial.stack.kafka_bootstrap)

    async def is_empty() -> bool:
        [response] = await admin.describe_consumer_groups([_group(trial)])
        [(_, _, state, *_)] = response.groups
        return bool(state == "Empty")

    await admin.start()
    try:
        await until(is_empty)
    finally:
        await admin.close()


def _start(trial: Trial) -> None:
    for worker in trial.appliers:
        worker.begin()
