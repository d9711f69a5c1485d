"""Writes of the agents: one transaction each, with the consumer offset."""
