"""Tokens of the HTTP server, stored by their hash."""
