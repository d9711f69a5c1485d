"""JSON Schemas of the messages about runs that are published on Redis."""

from execstream.storage.redis.channels import UpdateMessage
from execstream.streams.json_schemas import Described, describe


def update_schema() -> Described:
    """Describe the messages of the channels `execution_event/…`."""
    return describe(UpdateMessage)


def published_schema() -> Described:
    """Describe the messages of the channel `execution_published`: the number of events."""
    return Described({"type": "integer", "minimum": 1}, {})
