"""Consumer offsets compared with their topics, and repairing them."""
