"""Errors of `ExecutionClient` for a command without an effect, or with an unknown one."""

from typing import Any

from execstream.streams.errors import ExecstreamError


class _WithoutEffect(ExecstreamError):
    """The command changed nothing, for a reason of contract section 2."""

    def __init__(self, reason: str, detail: dict[str, Any], command_id: str) -> None:
        super().__init__(f"{self._what_happened(command_id)}: {reason} {detail or ''}".rstrip())
        self.reason = reason
        self.detail = detail
        self.command_id = command_id

    @classmethod
    def _what_happened(cls, command_id: str) -> str:
        raise NotImplementedError


class CommandRefused(_WithoutEffect):
    """The command was understood, and rejected by the rules."""

    @classmethod
    def _what_happened(cls, command_id: str) -> str:
        return f"Command {command_id} was refused"


class CommandQuarantined(_WithoutEffect):
    """The command was set aside, or waits behind one that was: it has no effect before an operator
    retries it."""

    @classmethod
    def _what_happened(cls, command_id: str) -> str:
        return f"Command {command_id} is in quarantine"


class CommandDead(_WithoutEffect):
    """The command could not be understood or stored and is now a dead letter."""

    @classmethod
    def _what_happened(cls, command_id: str) -> str:
        return f"Command {command_id} became a dead letter"
