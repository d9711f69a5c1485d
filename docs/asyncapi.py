"""The AsyncAPI document: topics, Redis channels and the webhook, with schemas of their messages.

`make docs` writes it to `docs/asyncapi.json`. Operations are those of execstream itself: it
receives the messages of producers, and sends those of readers.
"""

from typing import Any

from execstream import __version__
from execstream.cli.schema import CONTRACTS
from execstream.storage.redis.channels import (
    alert_channel,
    execution_channel,
    reply_channel,
    wake_up_channel,
)
from execstream.streams.topics import (
    BLOCK_STATS,
    CATALOGUE,
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    TOPICS,
    Topic,
)

Document = dict[str, Any]

_BINARY = "application/octet-stream"
_OF_TOPICS = {
    COMMANDS: "command",
    EVENTS: "event",
    CATALOGUE: "catalogue",
    BLOCK_STATS: "block-stats",
    DEAD_LETTERS: "dead-letter",
}
_RECEIVED = (COMMANDS, CATALOGUE)
_OF_CHANNELS = {
    "update": execution_channel("", "{user_id}", "{graph_id}", "{graph_exec_id}"),
    "reply": reply_channel("", "{reply_to}"),
    "published": wake_up_channel(""),
    "alert": alert_channel(""),
}
_PARAMETERS = {
    "update": {
        "user_id": "The owner of the run.",
        "graph_id": "Its graph.",
        "graph_exec_id": "The run.",
    },
    "reply": {"reply_to": "The field of the command."},
}
_WEBHOOK_HEADERS = {
    "type": "object",
    "required": ["Execstream-Message", "Execstream-Timestamp"],
    "properties": {
        "Execstream-Message": {"type": "string", "description": "The message_id."},
        "Execstream-Timestamp": {"type": "string", "description": "Unix seconds."},
        "Execstream-Signature": {"type": "string", "pattern": "^sha256=[0-9a-f]{64}$"},
    },
}


def asyncapi() -> Document:
    """Return the document, of version 3.0.0."""
    channels = {
        **{_OF_TOPICS[topic]: _topic_channel(topic) for topic in TOPICS},
        **{name: _redis_channel(name, at) for name, at in _OF_CHANNELS.items()},
        "webhook": _webhook(),
    }
    received = {_OF_TOPICS[topic] for topic in _RECEIVED}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "execstream",
            "version": __version__,
            "description": "Addresses come without EXECSTREAM_TOPIC_PREFIX and "
            "EXECSTREAM_REDIS_PREFIX. The meaning of messages is in docs/contract.md.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {
            name: {
                "action": "receive" if name in received else "send",
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name in channels
        },
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _topic_channel(topic: Topic) -> Document:
    kept: Document = {
        "cleanup.policy": [topic.cleanup],
        "max.message.bytes": topic.max_message_bytes,
    }
    if topic.retention_days is not None:
        kept["retention.ms"] = int(topic.config()["retention.ms"])
    bound = {
        "partitions": topic.partitions,
        "replicas": topic.replication,
        "topicConfiguration": kept,
    }
    return {
        "address": topic.name,
        "description": f"{topic.meaning}. Key: {topic.key}.",
        "messages": _messages_of(_OF_TOPICS[topic]),
        "bindings": {"kafka": bound},
    }


def _redis_channel(name: str, address: str) -> Document:
    about = {part: {"description": text} for part, text in _PARAMETERS.get(name, {}).items()}
    return {
        "address": address,
        "description": f"{CONTRACTS[name].meaning}.",
        "messages": _messages_of(name),
        **({"parameters": about} if about else {}),
    }


def _webhook() -> Document:
    return {
        "address": None,
        "description": "A POST to EXECSTREAM_ALERT_WEBHOOK_URL.",
        "messages": _messages_of("webhook") | _messages_of("webhook-run"),
    }


def _messages_of(name: str) -> Document:
    return {name: {"$ref": f"#/components/messages/{name}"}}


def _messages() -> Document:
    keyed = {"bindings": {"kafka": {"key": {"type": "string"}}}}
    messages: Document = {
        name: {
            "summary": contract.meaning,
            "payload": {"$ref": f"#/components/schemas/{name}"},
            **(keyed if name in _OF_TOPICS.values() else {}),
        }
        for name, contract in CONTRACTS.items()
    }
    messages["dead-letter"] = {
        "summary": "The original record, byte for byte; headers dlq.… have the reason",
        "contentType": _BINARY,
        "payload": {"description": "Any bytes, or none."},
        **keyed,
    }
    messages["webhook"] = messages["alert"] | {"headers": _WEBHOOK_HEADERS}
    messages["webhook-run"] = messages["run-end"] | {"headers": _WEBHOOK_HEADERS}
    return messages


def _schemas() -> Document:
    found: Document = {}
    for name, contract in CONTRACTS.items():
        schema = contract.describe().under("#/components/schemas/")
        for part, definition in {name: schema.root, **schema.definitions}.items():
            if found.setdefault(part, definition) != definition:
                raise ValueError(f"Two schemas are called {part}")
    old: Document = _in_draft_7(found)
    return old


def _in_draft_7(schema: Any) -> Any:
    """Write it in the dialect of AsyncAPI, where tuples are lists of `items`."""
    if isinstance(schema, list):
        return [_in_draft_7(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        "items" if name == "prefixItems" else name: _in_draft_7(one) for name, one in schema.items()
    }
