"""The schema: migrations, day partitions and retention."""
