"""Judging what deserves an alert, and telling of it."""
