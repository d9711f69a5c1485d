"""Refusals as users may see them: for each, runs of others do not exist, for writes too.

A command for a run of another user is refused as one for an unknown run would be. A new run whose
id another user has cannot be made, which shows that the id is taken, and no more.
"""

from typing import Any

import msgspec

from execstream.streams.events import Event
from execstream.streams.outcomes import Outcome, Refusal, Refused

_CREATE = "graph.create"


def shown_refusal(
    reason: str, detail: Any, command_type: str, run_id: str | None
) -> tuple[str, Any]:
    """Reason and detail of a refusal, as its sender may see them."""
    if reason != Refusal.WRONG_OWNER:
        return reason, detail
    is_new = command_type == _CREATE
    shown = Refusal.ALREADY_EXISTS if is_new else Refusal.UNKNOWN_GRAPH_EXECUTION
    return shown, {"graph_exec_id": run_id}


def shown_outcome(outcome: Outcome, command_type: str, run_id: str) -> Outcome:
    """The outcome of a command, as its sender may see it."""
    if not isinstance(outcome, Refused):
        return outcome
    reason, detail = shown_refusal(outcome.reason, outcome.detail, command_type, run_id)
    return Refused(Refusal(reason), detail)


def hides_owner(event: Event) -> bool:
    """Return whether streams of a user deliver the event as `shown_event`."""
    return event.reason == Refusal.WRONG_OWNER


def shown_event(event: Event) -> Event:
    """An event of a refusal, as its sender may see it."""
    reason, detail = shown_refusal(
        str(event.reason), None, str(event.command_type), str(event.graph_exec_id)
    )
    raw = msgspec.Raw(msgspec.json.encode(detail))
    return msgspec.structs.replace(event, reason=reason, detail=raw)
