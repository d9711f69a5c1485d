"""Applying commands: fold, commit, publish, reply."""
