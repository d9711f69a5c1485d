"""`execstream verify`: whether everything that is stored and published follows from the journal."""
