"""Blocks: their kinds, and the failures of their steps."""

from enum import StrEnum

from pydantic import BaseModel


class BlockType(StrEnum):
    """Kinds of blocks, from the catalogue."""

    STANDARD = "STANDARD"
    INPUT = "INPUT"
    OUTPUT = "OUTPUT"
    NOTE = "NOTE"
    WEBHOOK = "WEBHOOK"
    WEBHOOK_MANUAL = "WEBHOOK_MANUAL"
    AGENT = "AGENT"
    AI = "AI"
    AYRSHARE = "AYRSHARE"
    HUMAN_IN_THE_LOOP = "HUMAN_IN_THE_LOOP"
    MCP_TOOL = "MCP_TOOL"


# Blocks started by a call from outside, which they carry in their input `payload`.
WEBHOOKS = frozenset({BlockType.WEBHOOK, BlockType.WEBHOOK_MANUAL})

# Steps of these blocks make up the inputs and outputs of a run.
INTERFACE = frozenset({BlockType.INPUT, BlockType.OUTPUT}) | WEBHOOKS


class BlockErrorStats(BaseModel):
    """The number of steps of a block, whatever their status, and of those that failed."""

    block_id: str
    total_executions: int
    failed_executions: int

    @property
    def error_rate(self) -> float:
        """Failed steps in percent, 0 to 100."""
        if not self.total_executions:
            return 0.0
        return self.failed_executions / self.total_executions * 100
