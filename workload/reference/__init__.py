"""The expected results, computed a second time and independently: a dictionary machine.

Fed with the raw records of `execution.commands.v1` in offset order per partition, it holds the
rows, journal, refusals, dead letters and events that Postgres and Kafka must then hold. It shares
only `streams.statuses` with the product, and prefers being obviously right to being fast (some ten
thousand records a second). Everything is kept in memory. `table_rows` hands the rows to the
comparison with Postgres; `block_figures` counts the expected totals of the tally.
"""

from execstream.workload.reference.block_figures import block_figures
from execstream.workload.reference.exact_reading import read_json
from execstream.workload.reference.machine import Outcome, Reference
from execstream.workload.reference.reading import read_event

__all__ = ["Outcome", "Reference", "block_figures", "read_event", "read_json"]
