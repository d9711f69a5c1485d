"""Addresses of the servers of a stack, as its owner wrote them into `stack.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DESCRIPTION = "stack.json"


@dataclass
class Addresses:
    """The addresses of the servers.

    Attributes:
        kafka_bootstrap: `host:port` of the broker.
        postgres_dsn: connection string of the stack's database, with the password.
        redis_url: URL of database 0, with the password.
    """

    kafka_bootstrap: str
    postgres_dsn: str
    redis_url: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a `stack.json`.

        Raises:
            FileNotFoundError: no stack runs there.
        """
        text = json.loads(path.read_text())
        return cls(text["kafka_bootstrap"], text["postgres_dsn"], text["redis_url"])
