"""Redis: channels, published positions, messages and the event buses."""
