"""The state of runs and steps as messages tell it: a fold of events that keeps their values."""
