"""Metrics of the server. No ids of users, graphs or runs: labels would never end."""

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

from execstream.storage import build_metric, unreadable_metric

# The creation times of counters have no use here.
disable_created_metrics()  # type: ignore[no-untyped-call]

INSTALLATION = Info("execstream_server", "The installation of the server, and its version.")
REQUESTS = Counter(
    "execstream_http_requests", "Requests by route and status.", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "execstream_http_request_seconds", "Time until the answer began, by route.", ["route"]
)
STREAMS = Gauge("execstream_streams_open", "Streams that are open.")
UNAUDITED = Counter(
    "execstream_unaudited_acts", "Acts that Postgres did not take into the audit; the log has them."
)
POOL = Gauge("execstream_pool_connections", "Connections to Postgres, by state.", ["state"])
OPEN_ALERTS = Gauge(
    "execstream_open_alerts", "Open alerts, by kind and severity.", ["kind", "severity"]
)
EVENTS = Counter("execstream_stream_events", "Events read for the streams.")
RESYNCS = Counter("execstream_stream_resyncs", "Times a stream was too slow.")
BUILD = build_metric.BUILD
UNREADABLE = unreadable_metric.UNREADABLE
