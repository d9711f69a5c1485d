"""The story of a run, in sentences, from its records in Postgres."""
