"""The client for producers: commands, their outcomes, and the named writes."""
