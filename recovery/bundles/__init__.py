"""Bundles: the commands, entries and names of some runs in one file."""
