"""Positions in Postgres, where they move together with the effects."""

from collections.abc import Mapping

from execstream.agents.runtime.partition_buffer import Position
from execstream.storage.commit.consumer_offsets import claim
from execstream.storage.connections import Session


class PostgresPositions:
    """Positions of one consumer in `consumer_offset`."""

    def __init__(self, session: Session, consumer: str) -> None:
        self._session = session
        self._consumer = consumer

    async def claim(self, topic: str, earliest: Mapping[int, int]) -> list[Position]:
        """See `PositionStore`."""
        try:
            rows = await claim(await self._session.get(), self._consumer, topic, earliest)
        except Exception:
            self._session.terminate()
            raise
        return [
            Position(
                partition=row["partition"],
                next_offset=row["next_offset"],
                epoch=row["epoch"],
                base=row["base"],
                published=(row["published_offset"], row["published_index"]),
            )
            for row in rows
        ]
