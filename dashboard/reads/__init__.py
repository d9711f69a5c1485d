"""Reads that only the server has use for; the others are in `execstream.storage.reads`."""
