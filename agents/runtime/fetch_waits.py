"""Maximum waits of fetches at brokers: short while records come, longer while none do.

A waiting fetch keeps its broker from answering for partitions that it does not ask for, such as one
with records still buffered; so while records come, fetches are short. When the last fetch brought
nothing it can ask for all partitions: then a broker answers as soon as one has a record, however
long it may wait, and an idle worker costs it and itself two fetches a second instead of twenty.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple


class Fetching(NamedTuple):
    """The wait of a fetch at the broker: until there are `min_bytes`, but at most `max_wait`
    milliseconds. Faust's 1,500 would let a quiet partition wait that long.
    """

    min_bytes: int
    max_wait: int


IDLE = Fetching(min_bytes=1, max_wait=500)


def wait_longer_when_idle(
    fetcher: Any, busy: Fetching, unasked: Callable[[], Collection[Any]] = lambda: ()
) -> None:
    """Have aiokafka's `fetcher` ask by IDLE after a fetch without records, else by `busy`. Its
    records of partitions that are `unasked` for do not delay the fetch of others: aiokafka would
    wait 100 ms until they are taken.
    """
    build_requests = fetcher._get_actions_per_node
    reached: dict[Any, int] = {}  # where partitions stood before

    def build(assignment: Any) -> Any:
        nonlocal reached
        for tp in unasked():
            if tp in fetcher._records:
                fetcher._records[tp]._backoff = 0
        states = {tp: assignment.state_value(tp) for tp in assignment.tps}
        can_ask = [state.has_valid_position and not state.paused for state in states.values()]
        if fetcher._records or not all(can_ask):
            reached, waits = {}, busy
        else:
            before, reached = reached, {tp: state.position for tp, state in states.items()}
            waits = IDLE if before == reached else busy
        fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = waits
        return build_requests(assignment)

    fetcher._get_actions_per_node = build
