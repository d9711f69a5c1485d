"""Replies that Redis does not take are lost, and counted."""

import pytest

from execstream.agents.apply import replies as module
from execstream.agents.apply.replies import Replies
from execstream.agents.runtime.metrics import REPLIES_LOST
from execstream.devstack import Addresses
from execstream.streams.outcomes import Applied
from tests.storage.proxy import cable
from tests.worker import until


def lost() -> float:
    return float(REPLIES_LOST._value.get())


async def test_what_is_too_much_is_counted(stack: Addresses) -> None:
    """While Redis is unavailable the oldest replies go first; those in flight are lost as well."""
    before = lost()
    async with cable(stack.redis_url) as (between, url):
        between.cut()
        replies = Replies(url, "")
        replies.add([("me", str(number), Applied()) for number in range(module._MOST_WAITING + 5)])
        assert lost() - before == 5

        async def are_all_lost() -> bool:
            return lost() - before == module._MOST_WAITING + 5

        await until(are_all_lost)
        await replies.close()


async def test_a_redis_that_hangs_is_given_up(
    stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise no reply would be sent after it is back."""
    monkeypatch.setattr("execstream.storage.redis.positions.PATIENCE", 0.2)
    before = lost()
    async with cable(stack.redis_url) as (between, url):
        replies = Replies(url, "")
        between.hang()
        replies.add([("me", "1", Applied())])

        async def is_lost() -> bool:
            return lost() - before == 1

        await until(is_lost, 3)
        await replies.close()
