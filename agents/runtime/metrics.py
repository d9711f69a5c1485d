"""The metrics of a worker, for Prometheus. `docs/metrics.md` explains the use of each.

Counted by batch, never by record. No ids of users, graphs, runs or blocks: labels would never end.
"""

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

from execstream.storage import build_metric, unreadable_metric

# The creation times of counters have no use here.
disable_created_metrics()  # type: ignore[no-untyped-call]

COMMANDS = Counter(
    "execstream_commands",
    "Commands that were committed, by type (dead: not understood; quarantined) and outcome.",
    ["type", "outcome"],
)
REFUSALS = Counter("execstream_refusals", "Refused commands, by reason.", ["reason"])
DEAD_LETTERS = Counter("execstream_dead_letters", "Dead letters, by reason.", ["reason"])
FOREIGN_RUNS = Counter(
    "execstream_foreign_partition_runs",
    "Runs that were created on a partition that their key does not choose.",
)
FAR_DATED_RUNS = Counter(
    "execstream_far_dated_runs",
    "Runs whose day is far from the day of their record: only an import makes it a partition.",
)
QUARANTINED = Counter(
    "execstream_quarantined",
    "Records set aside (fault, parked behind one, copy), by reason.",
    ["reason"],
)
QUARANTINE_RECORDS = Gauge(
    "execstream_quarantine_records",
    "Records in quarantine, on the partitions this worker owns.",
)
SUSPECT_BATCHES = Counter(
    "execstream_suspect_batches", "Batches, and parts of them, that failed repeatedly."
)
INSTALLATION = Info("execstream_worker", "The installation of the worker, its version and role.")
BATCH_RECORDS = Histogram(
    "execstream_batch_records",
    "Records that were committed together, by topic.",
    ["topic"],
    buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000),
)
PHASE_SECONDS = Histogram(
    "execstream_phase_seconds",
    "Time a batch takes in each phase; phases overlap.",
    ["phase"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
PUBLISHED = Counter("execstream_events_published", "Events that Kafka has acknowledged.")
REPUBLISHED = Counter(
    "execstream_events_republished",
    "Events of earlier owners that were published (again) when a partition was taken over.",
)
RETRIES = Counter(
    "execstream_retries", "Attempts that were repeated after a pause, by kind of work.", ["what"]
)
FENCES = Counter("execstream_fences", "Batches given up because another worker has the partition.")
FOLDED_AGAIN = Counter(
    "execstream_batches_folded_again", "Batches folded again because their states were stale."
)
REPLIES_LOST = Counter(
    "execstream_replies_lost",
    "Replies that Redis did not take; it was away, or is too slow for their number.",
)
PARTITIONS = Gauge("execstream_partitions_owned", "Partitions this worker owns.", ["topic"])
LAG_RECORDS = Gauge(
    "execstream_lag_records",
    "Records that are in the topic and whose effects are not written.",
    ["topic", "partition"],
)
HELD_BACK_RECORDS = Gauge(
    "execstream_held_back_records",
    "Those of them that cannot be read before an open transaction ends.",
    ["topic", "partition"],
)
LAG_SECONDS = Gauge(
    "execstream_lag_seconds",
    "How long, at most, the oldest of these has been waiting, by our clock; 0 without lag.",
    ["topic", "partition"],
)
POSITION_TIMESTAMP = Gauge(
    "execstream_position_timestamp_seconds",
    "When the broker appended the last record whose effects are written; 0: not known.",
    ["topic", "partition"],
)
CACHE_RUNS = Gauge("execstream_cache_runs", "Runs whose states are kept between batches.")
CACHE_BYTES = Gauge("execstream_cache_bytes", "What these take, estimated.")
AHEAD_STEPS = Counter(
    "execstream_ahead_steps",
    "Steps that ended more than an hour ahead, by their times; no recent figure has them.",
)
TABLE_KEYS = Gauge("execstream_table_keys", "Keys of the live tables, by table.", ["table"])
TABLE_RECOVERY_SECONDS = Gauge(
    "execstream_table_recovery_seconds", "Time it took to set the live tables from Postgres."
)
BUILD = build_metric.BUILD
UNREADABLE = unreadable_metric.UNREADABLE
