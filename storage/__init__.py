"""The schema in Postgres, commits, reads and their models, and the Redis channels."""
