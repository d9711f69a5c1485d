"""Publishing events from the journal again, for consumers that lost theirs."""
