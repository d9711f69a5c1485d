"""The form of settings in words, and which of their values may be shown."""

from execstream.config.address_syntax import POSTGRES_FORM, REDIS_FORM

# The form of a value in words, for messages; the patterns below check it.
FORMS = {
    "kafka_bootstrap": "host:port, or several of them with commas between",
    "postgres_dsn": POSTGRES_FORM,
    "original_dsn": POSTGRES_FORM,
    "redis_url": REDIS_FORM,
    "topic_prefix": "letters, digits, dots, dashes and underscores",
    "alert_block_rates": "block ids with a rate from 0 to 1, like BLOCK_ID=0.3,BLOCK_ID=0.02",
    "alert_webhook_url": "like https://host/path",
    "webhook_run_statuses": "COMPLETED, FAILED or TERMINATED, or some of them with commas between",
    "tally_urls": "like http://10.0.0.1:8687,http://10.0.0.2:8687",
    "http_token": "16 or more of A-Z a-z 0-9 . _ ~ -, perhaps with = and a user id behind",
    "group_instance": "1 to 200 of A-Z a-z 0-9 . _ -",
    "actor": "1 to 128 of A-Z a-z 0-9 _ . : @ | -",
    "schema_": "lower case letters, digits and underscores, and begin with no digit",
}

# Values that are shown as they are, and addresses, of which some parts are. All others are hidden.
OPEN = frozenset(
    (
        *("kafka_security_protocol", "kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"),
        *("kafka_sasl_mechanism", "kafka_sasl_username", "topic_prefix", "schema_", "redis_prefix"),
        *(
            "group_prefix",
            "webhook_run_statuses",
            "webhook_run_graphs",
            "webhook_run_users",
            "group_instance",
            "replication_factor",
            "max_command_bytes",
            "max_message_bytes",
        ),
        *("http_host", "http_port", "http_rate", "http_large", "worker_host"),
        "tenancy",
        *("apply_port", "tally_port", "bridge_port", "apply_processes"),
        *(
            "alerts",
            "alert_failure_rate",
            "alert_block_rates",
            "alert_stuck_probability",
            "alert_silence",
        ),
        *("alert_caller_failures", "class_rules_file", "traces_ratio"),
        *("log_level", "log_format", "actor"),
    )
)
ADDRESSES = frozenset(("postgres_dsn", "original_dsn", "redis_url", "tally_urls", "traces_url"))
