"""Aggregating events into totals, tables and the block-stats topic."""
