"""`execstream listen`: messages on Redis are printed as they come, whatever they are."""

import json
import signal

import pytest
from redis.asyncio import Redis

from tests.orders import Orders
from tests.storage.proxy import cable
from tests.whole.program import Program
from tests.worker import Installation, Worker

UNREADABLE = [b"", b"\xff", b"[]", b'{"payload":1}', b'{"payload":' + b"[" * 100_000]
EXACT = '{"a":0.12345678901234567890123,"b":1E+400,"c":' + "9" * 5_000 + "}"
BY_HAND = (
    '{"payload":{"event_type":"graph_execution_update","id":"r","user_id":"u","graph_id":"g",'
    f'"status":"RUNNING","seq":null,"outputs":{{}},"inputs":{EXACT}}}}}'
).encode()


async def test_listen(program: Program, place: Installation, worker: Worker) -> None:
    """Changes of a run are printed live, until Ctrl-C."""
    assert worker.is_alive
    orders = Orders()
    life = [orders.create(orders.node("n", inputs={"a": 1})), orders.start(), orders.emit("n")]
    bridge = await place.start_worker("bridge")
    async with program.running("listen", "--execution", orders.run_id, "--json") as listener:
        assert listener.stdout
        assert listener.stderr
        await listener.stderr.readline()  # it listens

        await place.put(life)

        said = [json.loads(await listener.stdout.readline()) for _ in range(5)]
        listener.send_signal(signal.SIGINT)
        assert await listener.wait() == 128 + signal.SIGINT
    await bridge.stop()
    assert [payload["seq"] for payload in said] == [1, 2, 3, 4, 5]
    assert said[0]["event_type"] == "graph_execution_update"


@pytest.mark.parametrize("as_json", [True, False])
async def test_listen_goes_on(program: Program, place: Installation, as_json: bool) -> None:
    """It goes on with arbitrary messages, numbers exact; with unreadable ones; and when Redis was
    unavailable.
    """
    async with cable(place.settings.redis) as (line, url):
        there = Program(program.directory, {**program.variables, "EXECSTREAM_REDIS_URL": url})
        async with (
            there.running("listen", *["--json"][: int(as_json)]) as listener,
            Redis.from_url(place.settings.redis) as redis,
        ):
            assert listener.stdout
            assert listener.stderr
            assert b"Listening" in await listener.stderr.readline()
            channel = f"{place.settings.redis_prefix}execution_event/u/g/r"
            for message in [*UNREADABLE, BY_HAND]:
                await redis.publish(channel, message)
            said = await listener.stdout.readline()
            line.cut()
            complaints = [(await listener.stderr.readline()).decode() for _ in UNREADABLE]
            assert b"Redis is unavailable" in await listener.stderr.readline()
            line.mend()
            assert b"Listening" in await listener.stderr.readline()
            await redis.publish(channel, BY_HAND)
            assert await listener.stdout.readline() == said
            listener.send_signal(signal.SIGINT)
            assert await listener.wait() == 128 + signal.SIGINT
            assert await listener.stderr.read() == b""

    assert all(complaint.startswith("Not understood") for complaint in complaints)
    assert (f'"inputs":{EXACT}' if as_json else "r     -  run  RUNNING") in said.decode()
