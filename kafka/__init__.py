"""Kafka clients: security settings, topics, producers, readers and cluster metadata."""
