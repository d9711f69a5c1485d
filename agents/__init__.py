"""The workers: the Faust app, consumption in batches, and one agent per file."""
