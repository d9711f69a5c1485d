"""What a worker needs to know; read from the settings in `execstream` and handed down."""

from dataclasses import dataclass

from streams.decoding import MAX_COMMAND_BYTES


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
    tally_port: int = 0  # of the tally's own pages, on loopback; 0: none
    cache_bytes: int = 64 * 1024 * 1024  # estimate of what the states of runs may take
