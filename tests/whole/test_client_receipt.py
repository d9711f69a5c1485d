"""The receipt of a client, against the outcomes of its commands."""

from uuid import uuid4

import pytest

from execstream import ExecutionClient, OutcomeUnknown
from execstream.client.receipt import Receipt
from execstream.devstack import Addresses
from execstream.streams.topics import COMMANDS
from tests.whole.test_client import OWNER, created, output, set_variables
from tests.worker import Installation, Worker, installation


async def test_every_command_is_in_it(
    place: Installation, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each outcome is counted once, and nothing waits or is lost."""
    assert worker.is_alive
    set_variables(monkeypatch, place)
    async with ExecutionClient() as client:
        run = await created(client)
        start = {"type": "graph.start", "id": str(uuid4()), "user_id": OWNER}
        for _ in range(2):
            await client.call(start | {"graph_exec_id": run.id})
        await client.call(output(str(uuid4())))
        await client.send(output(run.id))
        receipt = await client.receipt()

    assert receipt.worst_delay > 0
    receipt.worst_delay = 0.0
    assert receipt == Receipt(
        sent=5, acknowledged=5, applied=2, duplicate=1, refused=1, not_asked=1
    )
    assert "lost         0\n" in str(receipt)


async def test_an_outcome_that_never_comes(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker a command waits; once offsets are past it without a trace, it is lost."""
    async with installation(stack, tmp_path_factory.mktemp("logs")) as idle:
        set_variables(monkeypatch, idle)
        async with ExecutionClient() as client:
            with pytest.raises(OutcomeUnknown):
                await client.call(output(str(uuid4())), timeout=0.7)
            waiting = await client.receipt()
            await idle.db.execute(_ADVANCE, idle.topic(COMMANDS.name), COMMANDS.partitions)
            lost = await client.receipt()

    assert (waiting.acknowledged, waiting.waiting, waiting.lost) == (1, 1, 0)
    assert (lost.waiting, lost.lost) == (0, 1)


_ADVANCE = """
insert into consumer_offset (consumer, topic, partition, next_offset, epoch)
select 'apply', $1, partition, 1000, 1 from generate_series(0, $2 - 1) as partition
"""
