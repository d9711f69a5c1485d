"""Which installation a process belongs to, for those that ask it over HTTP.

Two installations on one machine may listen at ports that are each other's. Cluster, schema and
topic prefix distinguish them.
"""

import asyncio
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from execstream import __version__
from execstream.config.settings import Settings
from execstream.kafka.admin import BrokerUnreachable
from execstream.kafka.cluster_id import find_cluster_id
from execstream.streams.errors import reason_of

RETRY_AFTER = 1.0  # seconds

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation; `cluster_id` is None until Kafka has answered once."""

    cluster_id: str | None
    schema: str
    topic_prefix: str


class Identity:
    """The identity that a process reports.

    Attributes:
        installation: the one that the process belongs to.
    """

    def __init__(self, settings: Settings, role: str) -> None:
        self.installation = Installation(None, settings.schema_, settings.topic_prefix)
        self._bootstrap = settings.kafka
        self._role = role
        self._is_known = asyncio.Event()

    async def learn(self) -> None:
        """Return once the cluster is known, which takes as long as Kafka is unavailable."""
        while self.installation.cluster_id is None:
            try:
                found = await find_cluster_id(self._bootstrap)
            except (BrokerUnreachable, KafkaError, OSError) as error:
                log.debug("cluster_id.unknown", error=reason_of(error))
                await asyncio.sleep(RETRY_AFTER)
            else:
                known = self.installation
                self.installation = Installation(found, known.schema, known.topic_prefix)
                self._is_known.set()

    async def known(self, within: float) -> Installation:
        """Return the installation, and wait some seconds for its cluster to be known."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_known.wait(), within)
        return self.installation

    @property
    def labels(self) -> dict[str, str]:
        """The identity as labels of a metric."""
        installation = {name: value or "" for name, value in asdict(self.installation).items()}
        return {**installation, "version": __version__, "role": self._role}

    @property
    def build(self) -> dict[str, str]:
        """The versions as labels of a metric."""
        return {"version": __version__, "python": platform.python_version()}

    @property
    def members(self) -> dict[str, Any]:
        """The identity as members of a JSON answer."""
        return {
            "installation": asdict(self.installation),
            "version": __version__,
            "role": self._role,
        }
