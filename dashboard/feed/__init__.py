"""The live feed: what happens, to everyone who watches, each event once.

Postgres tells it (the journal, refusals, key-values); Redis only says when to look. One reader
serves all streams; who falls behind or comes back reads the journal up to where that reader is.
"""
