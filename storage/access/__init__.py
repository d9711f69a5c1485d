"""Tokens of the HTTP server, and the audit."""
