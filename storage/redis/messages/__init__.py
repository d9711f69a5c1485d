"""What messages tell of runs and steps: a fold of events that keeps their values."""
