"""Events, ends of runs and ends of steps as Parquet files."""
