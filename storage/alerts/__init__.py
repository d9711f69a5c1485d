"""Alerts: their records, the figures behind them, and the outbox of their messages."""
