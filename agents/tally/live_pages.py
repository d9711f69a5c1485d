"""HTTP pages of the tally's worker: live totals of its own partitions.

A total is the sum over all partitions, so a complete one needs the answers of every worker of the
role; `partitions` lists those of this answer.
"""

from typing import Any

from execstream.agents.runtime.faust_app import App
from execstream.agents.tally.live_view import LiveView
from execstream.streams.totals.live_values import block_value, encode_value, node_value

BLOCKS, NODES = "/live/blocks", "/live/nodes"


def declare_pages(app: App, live: LiveView) -> None:
    """`GET /live/blocks`: the values of `execution.block-stats.v1`; `GET /live/nodes`: likewise,
    by node, with days instead of minutes."""

    def answer(web: Any, entries: list[dict[str, Any]]) -> Any:
        document = {"partitions": sorted(live.owned), "data": entries, **app.identity.members}
        return web.bytes(encode_value(document), content_type="application/json")

    @app.page(BLOCKS)
    async def blocks(web: Any, _: Any) -> Any:
        entries = live.block_stats.data.data.items()
        return answer(web, [block_value(key, stats) for key, stats in entries])

    @app.page(NODES)
    async def nodes(web: Any, _: Any) -> Any:
        entries = live.node_stats.data.data.items()
        return answer(web, [node_value(key, stats) for key, stats in entries])
