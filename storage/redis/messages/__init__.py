"""Messages about runs and steps: a fold of events that keeps their values."""
