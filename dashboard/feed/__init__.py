"""The live feed: changes of runs, to every subscriber, each event once.

Events come from Postgres (the journal, refusals, key-values); Redis only announces them. One reader
serves all streams; a stream that falls behind or resumes reads the journal up to the reader's
position.
"""
