"""Stats out of events, parsed as the reads do: any other value counts as absent."""

import json

from msgspec import Raw

from execstream.storage.models.stats import AnyStats, stats_from_db


def read_stats(model: type[AnyStats], stats: Raw, **place: str) -> AnyStats | None:
    """`stats` as `model`; None, and a warning that names the place, if they are not one."""
    try:
        document = json.loads(bytes(stats))
    except ValueError:  # whole numbers of thousands of digits
        document = "unreadable"
    return stats_from_db(model, document, **place)
