"""Folding stored commands under changed rules."""
