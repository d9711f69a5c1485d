"""`execstream verify`: check that stored and published data follow from the journal."""
