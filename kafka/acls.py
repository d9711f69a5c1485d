"""Rights on Kafka: uses of topics and groups by each kind of client, and scripts that allow these.

No client has a transactional id. Creating and altering topics is left to operators.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from execstream.streams.topics import (
    BLOCK_STATS,
    CATALOGUE,
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    TOPICS,
    Topic,
)

READ, WRITE, DESCRIBE = "Read", "Write", "Describe"
_READS, _WRITES = (READ, DESCRIBE), (WRITE, DESCRIBE)
_BOTH = (READ, WRITE, DESCRIBE)


class Client(StrEnum):
    """A kind of client, by the user that it connects as.

    PRODUCER also covers programs with `ExecutionClient`; ANALYST those that read events and totals,
    in groups with names that begin with `analyst-`.
    """

    WORKER = "execstream-worker"
    SERVER = "execstream-server"
    PRODUCER = "execstream-producer"
    ANALYST = "execstream-analyst"


class Allowed(NamedTuple):
    """Operations on a topic, or on a group or the groups that begin with a prefix."""

    resource: str  # an argument of kafka-acls.sh: --topic or --group
    name: str  # as in a shell, with the prefixes of an installation
    operations: tuple[str, ...]
    is_prefix: bool = False


# The server looks at offsets of every topic, and at their producers, for open transactions.
_TOPICS: dict[Client, dict[Topic, tuple[str, ...]]] = {
    Client.WORKER: {
        COMMANDS: _BOTH,  # it stops runs that are over their budget
        EVENTS: _BOTH,
        CATALOGUE: _READS,
        BLOCK_STATS: _BOTH,
        DEAD_LETTERS: _WRITES,
    },
    Client.SERVER: {**dict.fromkeys(TOPICS, _READS), COMMANDS: _BOTH},
    Client.PRODUCER: dict.fromkeys((COMMANDS, CATALOGUE), _WRITES),
    Client.ANALYST: dict.fromkeys((EVENTS, CATALOGUE, BLOCK_STATS), _READS),
}
_OWN_GROUPS = "${GROUP_PREFIX:-execstream}-"
_GROUPS = {
    Client.WORKER: Allowed("--group", _OWN_GROUPS, (READ, DESCRIBE), is_prefix=True),
    Client.SERVER: Allowed("--group", _OWN_GROUPS, (DESCRIBE,), is_prefix=True),
    Client.ANALYST: Allowed("--group", "analyst-", (READ, DESCRIBE), is_prefix=True),
}


def allowed(client: Client) -> Iterator[Allowed]:
    """All that a client may do; nothing else is."""
    for topic, operations in _TOPICS[client].items():
        yield Allowed("--topic", f"${{TOPIC_PREFIX:-}}{topic.name}", operations)
    if client in _GROUPS:
        yield _GROUPS[client]


def script(client: Client) -> str:
    """A script of the shell that allows all of it."""
    lines = [
        "#!/bin/sh",
        f"# Rights of `User:{client}`, or of PRINCIPAL; generated from topics.yaml: make docs.",
        "# BOOTSTRAP: a broker. ADMIN: settings of kafka-acls.sh, of an operator of Kafka.",
        "# TOPIC_PREFIX, GROUP_PREFIX: those of the installation, if it has any.",
        "set -eu",
        "allow() {",
        '  kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" --add \\',
        f'    --allow-principal "${{PRINCIPAL:-User:{client}}}" "$@"',
        "}",
    ]
    for one in allowed(client):
        operations = " ".join(f"--operation {operation}" for operation in one.operations)
        pattern = " --resource-pattern-type prefixed" if one.is_prefix else ""
        lines.append(f'allow {operations} {one.resource} "{one.name}"{pattern}')
    return "\n".join(lines) + "\n"
