"""Ids of imported rows and commands: derived from the original's, so that each import makes the
same ones."""

import re
from datetime import datetime
from uuid import UUID, uuid5

from execstream.streams.commands import UUID as UUID_FORM

NAMESPACE = UUID("6d6f7665-2d69-5e6e-8a00-657865637374")
_is_uuid = re.compile(UUID_FORM).match


def execution_id(original: str) -> str:
    """Return the id of a run or step: the original's, where that is a UUID in lower case."""
    return original if _is_uuid(original) else str(uuid5(NAMESPACE, original))


def command_id(kind: str, *parts: object) -> str:
    """Return the id of the command that `parts` of the original make necessary."""
    return str(uuid5(NAMESPACE, "/".join((kind, *map(str, parts)))))


def moment(time: datetime) -> str:
    """Return a time of the original as commands have it."""
    return time.isoformat() + "Z"
