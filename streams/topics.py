"""The topics, as `topics.yaml` describes them; nothing else spells their names.

The file is at the top of a checkout; `streams/topics.yaml` is a link to it.
"""

from importlib.resources import files
from typing import Literal

import msgspec

_DAY = 24 * 60 * 60 * 1000  # milliseconds


class Topic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A topic: its name and content, and how Kafka shall keep it.

    `key`, `record` and `meaning` are for people. `name` comes without the prefix of an
    installation. Compacted topics keep the newest record of a key for ever.
    """

    name: str
    key: str
    partitions: int
    replication: int
    cleanup: Literal["delete", "compact"]
    retention_days: int | None = None
    max_message_bytes: int
    timestamps: Literal["LogAppendTime", "CreateTime"]
    record: str
    meaning: str

    def config(self) -> dict[str, str]:
        """Its settings in the words of Kafka."""
        config = {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": self.timestamps,
        }
        if self.retention_days is not None:
            config["retention.ms"] = str(self.retention_days * _DAY)
        return config


def _read() -> dict[str, Topic]:
    file = files(__package__) / "topics.yaml"
    return msgspec.yaml.decode(file.read_bytes(), type=dict[str, Topic])


_by_role = _read()

COMMANDS = _by_role["commands"]
EVENTS = _by_role["events"]
CATALOGUE = _by_role["catalogue"]
BLOCK_STATS = _by_role["block_stats"]
DEAD_LETTERS = _by_role["dead_letters"]

TOPICS: tuple[Topic, ...] = tuple(_by_role.values())
