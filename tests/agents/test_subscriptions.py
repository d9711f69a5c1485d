"""The runs that the bridge takes for subscribed, and the cost of subscribers that come and go."""

from typing import Any

import pytest
from redis.asyncio import Redis

from execstream.agents.bridge import forwarder
from execstream.devstack import Addresses
from execstream.devstack.redis import url as url_of
from execstream.devstack.server import Server
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.redis.messages.view_loading import recall
from execstream.storage.redis.subscriptions import Subscriptions
from tests.agents.bridging import REDIS_PASSWORD, Bridging, store
from tests.agents.test_bridge_to_redis import life_of_an_output_step
from tests.names import Names


async def test_who_may_not_ask_asks_again(
    own_redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every channel counts as heard while Redis forbids to ask, and no longer."""
    port = own_redis.ports[0]
    async with (
        Redis.from_url(url_of(port, REDIS_PASSWORD)) as redis,
        Redis.from_url(f"redis://bridge:own@127.0.0.1:{port}/0") as limited,
    ):
        rights: dict[str, Any] = {"enabled": True, "passwords": ["+own"], "channels": ["*"]}
        await redis.acl_setuser("bridge", **rights, categories=["+@all"], commands=["-pubsub"])
        asked = Subscriptions(limited)
        assert await asked.heard(["one"]) == {"one"}
        await redis.acl_setuser("bridge", **rights, categories=["+@all"])
        assert await asked.heard(["one"]) == {"one"}

        monkeypatch.setattr(asked, "_asks_from", 0.0)  # as if a minute had passed

        assert await asked.heard(["one"]) == set()


@pytest.mark.usefixtures("bridging")  # which makes the tables
async def test_who_comes_and_goes_costs_one_recall(
    stack: Addresses,
    names: Names,
    own_redis: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The journal of a run is read once for a subscriber who leaves and comes back, and again only
    after LINGER seconds without one.
    """
    over_there = Bridging(stack.postgres_dsn, url_of(own_redis.ports[0], REDIS_PASSWORD), names)
    events = await store(over_there.session, life_of_an_output_step())
    channel = RunViews(names.redis_prefix).channel_of(events[0])
    recalled: list[int] = []

    async def recall_and_count(*of: Any) -> set[str]:
        recalled.append(len(of[2]))
        return await recall(*of)

    monkeypatch.setattr(forwarder, "recall", recall_and_count)
    for offset, event in enumerate(events[:6]):
        async with over_there.redis.pubsub(ignore_subscribe_messages=True) as subscribed:
            if offset % 2:
                await subscribed.subscribe(channel)
                await subscribed.get_message(ignore_subscribe_messages=False, timeout=5)
            await over_there.forward([event], first_offset=offset)
    assert recalled == [1]

    over_there.forwarder._subscriptions._until.clear()  # as if a minute had passed
    await over_there.forward([events[6]], first_offset=6)
    async with over_there.redis.pubsub(ignore_subscribe_messages=True) as subscribed:
        await subscribed.subscribe(channel)
        await subscribed.get_message(ignore_subscribe_messages=False, timeout=5)
        await over_there.forward([events[7]], first_offset=7)
    assert recalled == [1, 1]
    await over_there.close()
