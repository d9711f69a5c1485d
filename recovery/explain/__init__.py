"""The history of a run or of one command, from its records."""
