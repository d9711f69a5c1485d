"""The registry of tables: the columns that name a row of each, and the origin of the rows.

Verification, replay, proof and swap select their tables here. A test compares the registry with the
schema.
"""

from dataclasses import dataclass
from enum import Enum, auto


class Origin(Enum):
    """Origin of the rows of a table, which decides how a rebuilt schema gets them."""

    APPLIED = auto()  # commands that took effect: folded again, from the topics or the journal
    REJECTED = auto()  # commands that took none: judged again, or copied beside a journal
    TOTAL = auto()  # sums over events: counted again
    OFFSETS = auto()  # positions of consumers: set by replay and swap
    SCHEMA = auto()  # state of one schema: neither made again nor copied
    OTHER = auto()  # independent of commands: copied at a swap


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the schema.

    Attributes:
        key: columns that name a row; those of totals by time begin with the time.
        left_out: columns that are not compared.
        worded: documents that are compared without their `message`, which is for people.
    """

    name: str
    key: tuple[str, ...]
    origin: Origin
    left_out: tuple[str, ...] = ()
    worded: tuple[str, ...] = ()

    def compared(self, column: str) -> str:
        """Return the SQL expression of a column of the row `t`, as it is compared."""
        removed = " - 'message'" if column in self.worded else ""
        return f't."{column}"{removed}'


_SOURCE = ("source_partition", "source_offset")

RUNS = Table("graph_execution", ("id",), Origin.APPLIED)
STEPS = Table("node_execution", ("graph_exec_id", "id"), Origin.APPLIED)
JOURNAL = Table("journal", ("graph_exec_id", "seq"), Origin.APPLIED)
KEY_VALUE_JOURNAL = Table("kv_journal", _SOURCE, Origin.APPLIED)
KEY_VALUES = Table("kv_data", ("user_id", "key"), Origin.APPLIED)
REFUSALS = Table("refusal", _SOURCE, Origin.REJECTED)
# By their place in one topic; the id also differs between topics that had the same name.
DEAD_LETTERS = Table(
    *("dead_letter", ("partition", "offset"), Origin.REJECTED, ("redriven_at",), ("detail",))
)


def _total(name: str, *key: str) -> Table:
    return Table(name, key, Origin.TOTAL)


_BLOCK_MINUTES = _total("block_minute", "minute", "source_partition", "block_id")
_NODE_DAYS = _total("node_day", "day", "source_partition", "graph_id", "node_id")
RUN_ERRORS = _total(
    "run_error", "hour", "source_partition", "graph_exec_id", "block_id", "fingerprint"
)
BY_TIME = (
    _BLOCK_MINUTES,
    _total("block_hour", "hour", "source_partition", "block_id"),
    _NODE_DAYS,
    _total("graph_minute", "minute", "source_partition", "graph_id"),
    _total("user_day", "day", "source_partition", "user_id"),
    _total("block_error", "hour", "source_partition", "block_id", "fingerprint"),
    RUN_ERRORS,
    _total("spending", "day", "source_partition", "per", "subject"),
)
# Totals of all time, with the totals by time that they are the sums of.
OF_ALL_TIME = {
    _total("block_total", "source_partition", "block_id"): _BLOCK_MINUTES,
    _total("node_total", "source_partition", "graph_id", "node_id"): _NODE_DAYS,
}
TOTALS = (*BY_TIME, *OF_ALL_TIME)

CONSUMER_OFFSETS = Table(
    "consumer_offset",
    ("consumer", "topic", "partition"),
    Origin.OFFSETS,
    ("epoch", "published_offset", "published_index"),
)
DEFINITIONS = Table(
    "totals_definition", ("source_partition", "after_offset", "after_index"), Origin.OTHER
)
# Positions set aside, which a rebuild reads from the live schema and never judges again.
QUARANTINE = Table("quarantine", ("topic", "partition", "offset"), Origin.OTHER)
BLOCKS = Table("block", ("id",), Origin.OTHER)
ALERTS = Table("alert", ("id",), Origin.OTHER)
TOKENS = Table("token", ("id",), Origin.OTHER)
AUDIT = Table("audit", ("id",), Origin.OTHER)
MESSAGES = Table("alert_message", ("id",), Origin.OTHER)
RUN_MESSAGES = Table("run_message", ("graph_exec_id", "seq"), Origin.OTHER)
GRAPHS = Table("graph", ("id", "version"), Origin.OTHER)
BUDGETS = Table("budget", ("id",), Origin.OTHER)
ARCHIVED = Table("archived", ("topic", "partition"), Origin.OTHER)
ATTEMPTS = Table("apply_attempt", ("topic", "partition"), Origin.SCHEMA)

TABLES = (
    *(RUNS, STEPS, JOURNAL, KEY_VALUE_JOURNAL, KEY_VALUES, REFUSALS, DEAD_LETTERS),
    *TOTALS,
    *(CONSUMER_OFFSETS, DEFINITIONS, QUARANTINE, BLOCKS, GRAPHS, BUDGETS),
    *(ALERTS, ARCHIVED, MESSAGES, RUN_MESSAGES, TOKENS, AUDIT),
    Table("migration", ("version",), Origin.SCHEMA),
    ATTEMPTS,
    Table("replay_plan", ("partition",), Origin.SCHEMA),
    Table("replay_index", ("definition",), Origin.SCHEMA),
)

FIGURE_VIEWS = ("runs", "steps", "block_rates", "graph_rates", "costs")  # without values of runs
VALUE_VIEWS = ("node_input_output",)
OTHER_DAYS = (
    "journal_other",
    "node_execution_other",
)  # partitions of days without one of their own
