"""The metric of stored rows that cannot be read, which workers and the HTTP server export."""

from prometheus_client import Gauge

from execstream.storage import unreadable_rows

UNREADABLE = Gauge(
    "execstream_unreadable_rows",
    "Runs, and other tables, of which a stored row could not be read since the process started.",
)
UNREADABLE.set_function(lambda: len(unreadable_rows.noted))
