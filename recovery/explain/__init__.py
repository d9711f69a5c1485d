"""The story of a run or of one command, from what was recorded of it."""
