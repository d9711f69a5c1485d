"""What a worker needs to know; read from the settings in `execstream` and handed down."""

from dataclasses import dataclass, field

from execstream.streams.decoding import MAX_COMMAND_BYTES


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    kafka_bootstrap: str
    postgres_dsn: str
    redis_url: str
    topic_prefix: str = ""
    schema: str = "execstream"
    redis_prefix: str = ""
    group_prefix: str = "execstream"
    max_command_bytes: int = MAX_COMMAND_BYTES
    max_message_bytes: int = 16 * 1024 * 1024
    session_timeout: float = 10.0  # seconds without a heartbeat until others take over
    batch_records: int = 2_000  # most records in one transaction
    http_host: str = "127.0.0.1"  # of the worker's own probes and pages
    http_port: int = 0  # 0: none
    stall_after: float = 30.0  # seconds of lag without progress until it counts as not alive
    cache_bytes: int = 64 * 1024 * 1024  # estimate of what the states of runs may take
    alerts: bool = True
    alert_failure_rate: float = 0.1
    alert_stuck_probability: float = 0.001
    alert_silence: float = 300.0  # seconds
    alert_webhook_url: str | None = field(default=None, repr=False)
    alert_webhook_secret: str | None = field(default=None, repr=False)
