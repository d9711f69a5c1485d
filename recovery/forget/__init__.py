"""Erasing the data of one user."""
