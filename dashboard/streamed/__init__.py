"""Answers of any size, streamed from Postgres in bounded memory."""
