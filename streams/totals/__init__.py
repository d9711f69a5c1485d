"""Totals of blocks, graphs and users: aggregation of events, and alert rules."""
