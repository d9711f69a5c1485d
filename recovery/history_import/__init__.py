"""Import of the original's tables: by commands, so that the history is like any other."""
