"""The HTTP server: the read API, the live feed, and the page.

Reads Postgres and listens to Redis; writes nothing itself. Commands go out through a sender that
is handed down.
"""
