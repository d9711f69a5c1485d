"""From events on Kafka to messages on Redis."""
