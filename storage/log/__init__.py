"""Reads of the log: journal, refusals, key-value journal and dead letters."""
